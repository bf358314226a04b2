"""Pictures of a run: one file each with its settings inside, written whole, drawn once, refused when they differ."""

import errno
import json
import os
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from PIL import Image

from ...relation_files import whole_file
from ...relation_images import open_image
from ...sheets.png_settings import read_png_settings, save_png
from ..cases import Case, CaseFile
from .system import Order, System, noise_seed

PICTURES, TIMINGS = "pictures", "timings"


def picture_path(root: Path, system: str, case_id: str, number: int) -> Path:
    return root / PICTURES / system / case_id / f"{number}.png"


def picture_settings(system: System, cases: CaseFile, case: Case, number: int) -> dict:
    """What a picture's PNG keeps, and what an existing one must agree with."""
    return {
        "system": system.name,
        "case": case.id,
        "case_digest": cases.digest(case),
        "number": number,
        "seed": noise_seed(case.id, number),
        **json.loads(json.dumps(system.settings(case))),  # as they come back from the PNG: tuples are lists
    }


def is_drawn(root: Path, system: System, cases: CaseFile, case: Case, count: int) -> bool:
    """Whether all `count` pictures of a case are there.

    Raises:
        ValueError: one is there with other settings, or unreadable; it is never replaced.
    """
    return not missing_numbers(root, system, cases, case, count)


def missing_numbers(root: Path, system: System, cases: CaseFile, case: Case, count: int) -> list[int]:
    missing = []
    for number in range(count):
        path = picture_path(root, system.name, case.id, number)
        if not path.is_file():
            missing.append(number)
            continue
        found, wanted = read_png_settings(path), picture_settings(system, cases, case, number)
        if found != wanted and system.derived:
            missing.append(number)
        elif found != wanted:
            different = sorted(k for k in {*wanted, *(found or {})} if (found or {}).get(k) != wanted.get(k))
            shown = "; ".join(
                f"{k}: {(found or {}).get(k)!r} there, {wanted.get(k)!r} asked for" for k in different[:3]
            )
            raise ValueError(
                f"`{path}` was drawn with other settings ({shown}). Choose another output folder, give the system "
                "another name (NAME=SYSTEM), or remove its pictures."
            )
    return missing


def draw_cases(root: Path, system: System, cases: CaseFile, group: Sequence[Case], count: int) -> int:
    """Draw what is missing of the `count` pictures of each of `group`; gives the number drawn.

    Args:
        group: cases that the system always draws in one call, see `System.groups`; all of them are drawn for one that
            misses a picture.
    Raises:
        ValueError: settings differ, the system gave something else than pictures, or the disk is full.
    """
    missing = [(i, n) for i, case in enumerate(group) for n in missing_numbers(root, system, cases, case, count)]
    if not missing:
        return 0
    start = time.perf_counter()
    orders = [
        Order(
            case,
            [open_image(path) for path in cases.image_prompts(case)],
            [noise_seed(case.id, number) for number in range(count)],
        )
        for case in group
    ]
    drawn = [list(pictures) for pictures in system.draw(orders)]
    for pictures in drawn:
        if len(pictures) != count or not all(isinstance(picture, Image.Image) for picture in pictures):
            kinds = sorted({type(picture).__name__ for picture in pictures})
            raise ValueError(
                f"the system {system.name!r} must give {count} PIL image(s) for a case, got {len(pictures)} of {kinds}."
            )
    seconds = (time.perf_counter() - start) / (count * len(group))
    for index, number in missing:
        path = picture_path(root, system.name, group[index].id, number)
        with told_when_full(path):
            make_folder(path.parent)
            save_png(drawn[index][number].convert("RGB"), path, picture_settings(system, cases, group[index], number))
    for case in group:
        write_json({"seconds_a_picture": round(seconds, 4)}, root / TIMINGS / system.name / f"{case.id}.json")
    return len(missing)


def seconds_a_picture(root: Path, system: str, first: int = 10) -> float | None:
    """Median over the first cases drawn; None before any was."""
    files = sorted((root / TIMINGS / system).glob("*.json"), key=lambda file: file.stat().st_mtime)[:first]
    values = sorted(json.loads(file.read_text(encoding="utf-8"))["seconds_a_picture"] for file in files)
    return values[len(values) // 2] if values else None


def write_json(value: Any, path: Path) -> None:
    with told_when_full(path):
        make_folder(path.parent)
        with whole_file(path) as temporary:
            temporary.write_text(json.dumps(value, sort_keys=True) + "\n", encoding="utf-8")


def make_folder(folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)


class told_when_full:  # noqa: N801 (reads as a statement)
    """A full disk is a ValueError that says what to do; nothing half-written stays."""

    def __init__(self, path: Path):
        self.path = path

    def __enter__(self):
        return self

    def __exit__(self, kind, error, trace):
        full = (errno.ENOSPC, getattr(errno, "EDQUOT", errno.ENOSPC))
        if isinstance(error, OSError) and error.errno in full:
            raise ValueError(
                f"no space is left for `{self.path}` ({os.strerror(error.errno)}). Free some and start the same "
                "command again: it goes on where it stopped."
            ) from error
