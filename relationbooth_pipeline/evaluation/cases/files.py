"""Case files: JSON lines and the photos they name, read, checked, written, and told apart by their contents."""

import hashlib
import json
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from ...digests import file_digest
from ...relation_files import whole_file
from ...relation_images import open_image
from ...triplets.fields import read_text
from .case import Case, case_from

CASES = "cases.jsonl"


@dataclass(frozen=True)
class CaseFile:
    """Cases and the folder that their photos are named from.

    Attributes:
        cases: those to work on. everything: all of the file, of which `cases` are some; empty: `cases` are all.
        fingerprint: of the whole file and its photos' contents; equal for equal cases on any machine.
    """

    cases: tuple[Case, ...]
    folder: Path
    everything: tuple[Case, ...] = ()

    @property
    def all_cases(self) -> tuple[Case, ...]:
        return self.everything or self.cases

    def photo(self, case: Case, object_number: int, photo_number: int) -> Path:
        return self.folder / case.references[object_number][photo_number]

    def image_prompts(self, case: Case) -> list[Path]:
        """The photo of each object that a system gets."""
        return [self.photo(case, i, chosen) for i, chosen in enumerate(case.generate_with)]

    @property
    def photos(self) -> list[Path]:
        """Every photo that a case names, each once."""
        names = {name for case in self.cases for photos in case.references for name in photos}
        return [self.folder / name for name in sorted(names)]

    def digest(self, case: Case) -> str:
        """Of one case and its photos' contents, wherever they lie."""
        photos = [[file_digest(self.folder / name) for name in photos] for photos in case.references]
        kept = {**json.loads(case.line()), "references": photos, "objects": case.object_names}
        return hashlib.sha256(json.dumps(kept, sort_keys=True).encode()).hexdigest()[:32]

    @property
    def fingerprint(self) -> str:
        return hashlib.sha256("".join(self.digest(case) for case in self.all_cases).encode()).hexdigest()[:32]

    def limited(self, limit: int | None) -> "CaseFile":
        """`limit` cases, spread evenly over the file, so that a bench's kinds all occur; None: all."""
        if limit is None or limit >= len(self.cases):
            return self
        if limit < 1:
            raise ValueError(f"`limit` must be at least 1, got {limit}.")
        chosen = [self.cases[i * len(self.cases) // limit] for i in range(limit)]
        return CaseFile(tuple(chosen), self.folder, self.all_cases)

    def check(self, photos: bool = True) -> "CaseFile":
        """Raise a ValueError with every fault of every case; else give the cases back.

        Args:
            photos: also open every photo.
        """
        faults, seen = [], {}
        for case in self.cases:
            faults += [f"case {case.id!r}: {fault}" for fault in case.faults()]
            if (other := seen.setdefault(case.id.lower(), case)) is not case:
                faults.append(f"two cases have the id {other.id!r}")
        for photo in self.photos if photos else ():
            try:
                open_image(photo)
            except ValueError as error:
                faults.append(str(error))
        if not self.cases:
            faults.append("there is no case")
        if faults:
            raise ValueError(_told(f"the cases of `{self.folder}` have {len(faults)} fault(s)", faults))
        return self


def _told(head: str, faults: Sequence[str], shown: int = 20) -> str:
    more = f"\n  … and {len(faults) - shown} more" if len(faults) > shown else ""
    return f"{head}:\n  " + "\n  ".join(faults[:shown]) + more


def read_cases(path: str | Path) -> CaseFile:
    """Cases of a JSON lines file, or of the file `cases.jsonl` of a folder.

    Raises:
        ValueError: no such file, no UTF-8, or lines that are no case; every one of them is named. Photos are not
            opened.
    """
    path = Path(path)
    path = path / CASES if path.is_dir() else path
    if not path.is_file():
        raise ValueError(f"no case file at `{path}`. Write one with `relationbooth evaluate cases`.")
    cases, faults = [], []
    for number, text in enumerate(read_text(path).split("\n"), start=1):
        if not text.strip():
            continue
        try:
            cases.append(case_from(json.loads(text)))
        except ValueError as error:
            faults.append(f"line {number}: {error}")
    if faults:
        raise ValueError(_told(f"`{path}` has {len(faults)} line(s) that are no case", faults))
    return CaseFile(tuple(cases), path.parent)


def write_cases(cases: Iterable[Case], photos: Path, path: str | Path) -> Path:
    """Write cases, their photos named relative to the file where they can be, else as they are.

    Args:
        photos: folder that the cases' photos are named from.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    lines = []
    for case in cases:
        moved = tuple(tuple(_relative(photos / name, path.parent) for name in names) for names in case.references)
        lines.append(replace(case, references=moved).line())
    with whole_file(path) as temporary:
        temporary.write_text("".join(line + "\n" for line in lines), encoding="utf-8")
    return path


def _relative(photo: Path, folder: Path) -> str:
    try:
        return Path(os.path.relpath(photo.absolute(), folder.absolute())).as_posix()
    except ValueError:  # another drive of Windows
        return photo.absolute().as_posix()
