"""Triplets written: their metadata, or whole folders copied into our layout."""

import json
import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from ..relation_files import whole_file, whole_folder
from .fields import read_json, read_text
from .reading import is_released_layout
from .triplet import METADATA, Triplet


def write_metadata(folder: str | Path, triplets: list[Triplet]) -> None:
    """Write `metadata.jsonl` for triplets whose files lie in `folder`, whole or not at all.

    Raises:
        ValueError: a file lies elsewhere, or `folder` is in the released layout, which stays as its authors made it.
    """
    folder = Path(folder)
    if is_released_layout(folder):
        raise ValueError(
            f"`{folder}` is in the released layout, which is never written into. Copy it by `relationbooth triplets "
            "import`."
        )

    def relative(file: Path) -> str:
        return file.relative_to(folder).as_posix()

    lines = []
    for t in triplets:
        fields = t.others | {
            "file_name": relative(t.image),
            "image_prompts": [relative(file) for file in t.image_prompts],
            "prompt": t.prompt,
            "phrases": t.phrases,
            "predicate": t.predicate,
            "boxes": t.boxes.tolist(),
            "masks": None if t.masks is None else [relative(file) for file in t.masks],
            "keypoints": t.keypoints.tolist(),
            "image_prompt_keypoints": t.image_prompt_keypoints.tolist(),
            "keypoint_order": t.keypoint_order,
        }
        lines.append(json.dumps(fields))
    with whole_file(folder / METADATA) as temporary:
        temporary.write_text("\n".join(lines) + "\n", encoding="utf-8")


def repair_metadata(folder: str | Path, orders: Sequence[tuple[int, ...]]) -> None:
    """Put target keypoints in order in `metadata.jsonl`; all else, fields of others too, stays as it was written.

    Args:
        folder: in our layout, without a fault.
        orders: of `check_assignments`, one a sample.
    """
    lines = read_text(Path(folder) / METADATA).split("\n")
    samples = [i for i, line in enumerate(lines) if line.strip()]
    for i, order in zip(samples, orders, strict=True):
        if list(order) != sorted(order):
            record = read_json(lines[i])
            record["keypoints"] = [record["keypoints"][j] for j in order]
            lines[i] = json.dumps(record)
    with whole_file(Path(folder) / METADATA) as temporary:
        temporary.write_bytes("\n".join(lines).encode("utf-8"))


def import_triplets(triplets: list[Triplet], folder: str | Path) -> None:
    """Copy triplets and their files into a new folder in our layout, whole or not at all.

    Fields of other programs come along as they were written; files that they may name do not.

    Raises:
        ValueError: the folder holds something.
    """
    with whole_folder(folder) as fresh:

        def copied(file: Path, name: str) -> Path:
            return Path(shutil.copyfile(file, fresh / f"{name}{file.suffix.lower()}"))

        moved = []
        for i, t in enumerate(triplets):
            prompts = [copied(file, f"{i:04d}_object_{j}") for j, file in enumerate(t.image_prompts)]
            masks = None if t.masks is None else [copied(f, f"{i:04d}_mask_{j}") for j, f in enumerate(t.masks)]
            moved.append(replace(t, image=copied(t.image, f"{i:04d}"), image_prompts=prompts, masks=masks))
        write_metadata(fresh, moved)
