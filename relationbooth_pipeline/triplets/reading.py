"""Triplets: target image, image prompts and prompt of one relation, with boxes, masks and keypoints; read.

Two layouts are read: a `datasets` image folder with `metadata.jsonl` (ours), and the released one (`prompts.json`,
`videos/<i>/`, `masks/<i>/`). Every fault of a folder is found before the first is raised.
"""

from collections.abc import Iterator
from pathlib import Path

import torch

from ..relation_images import read_mask
from ..relation_regions import bounding_boxes
from .checking import triplet_faults
from .fields import Record, read_json, read_text
from .predicates import sentence_predicate
from .triplet import KEYPOINT_COUNT, KEYPOINT_ORDERS, METADATA, Triplet, TripletError

RELEASED_METADATA = "prompts.json"


def is_released_layout(folder: str | Path) -> bool:
    """Whether a folder is in the released layout; ours is preferred where both files lie."""
    return not (Path(folder) / METADATA).is_file() and (Path(folder) / RELEASED_METADATA).is_file()


def read_triplets(folder: str | Path, predicate: str | None = None) -> list[Triplet]:
    """Triplets of a folder in either layout, validated.

    Args:
        predicate: of the samples that name none. Without it those of the released layout are told by the sentence
            (`sentence_predicate`), since one of the two released relations names none; ours must name it.
    Raises:
        TripletError: names sample, field, rule and value of every fault. Swapped keypoints are not among them: see
            `refuse_swapped`.
    """
    folder = Path(folder)
    if is_released_layout(folder):
        samples = _released_samples(folder, predicate)
    elif (folder / METADATA).is_file():
        samples = _metadata_samples(folder, predicate)
    else:
        raise TripletError(
            [f"`{folder}` holds neither `{METADATA}` nor `{RELEASED_METADATA}`: it is no triplet folder."]
        )
    triplets, faulty, faults = [], [], []
    try:
        for place, triplet, known in samples:
            found = [*known, *triplet_faults(triplet)]
            faults += [f"{place}: {fault}" for fault in found]
            (faulty if found else triplets).append(triplet)
    except ValueError as error:  # the file as a whole
        raise TripletError([str(error)]) from error
    if not triplets and not faults:
        faults = [f"`{folder}` holds no triplet. Add at least one sample."]
    if faults:
        raise TripletError(faults, triplets, faulty)
    return triplets


def _metadata_samples(folder: Path, predicate: str | None) -> Iterator[tuple[str, Triplet, list[str]]]:
    """(where it stands, triplet with None for what cannot be read, faults of the fields)."""
    # Not `splitlines`: JSON allows U+2028 and its like inside strings.
    for number, line in enumerate(read_text(folder / METADATA).split("\n"), start=1):
        if not line.strip():
            continue
        place = f"{METADATA} line {number}"
        try:
            record = Record(read_json(line))
        except ValueError as error:
            yield place, _unread(f"line {number}"), [str(error)]
            continue
        image, prompts = record.text("file_name"), record.texts("image_prompts")
        masks = record.texts("masks", optional=True)
        points = "N × 17 × [x, y, visible], numbers in [0, 1]"
        triplet = Triplet(
            name=f"line {number}",
            image=None if image is None else folder / image,
            image_prompts=None if prompts is None else [folder / file for file in prompts],
            prompt=record.text("prompt"),
            phrases=record.texts("phrases"),
            predicate=record.text("predicate", default=predicate),
            boxes=record.numbers("boxes", "N × [x0, y0, x1, y1], numbers in [0, 1]", depth=2),
            masks=None if masks is None else [folder / file for file in masks],
            keypoints=record.numbers("keypoints", points, depth=3),
            image_prompt_keypoints=record.numbers("image_prompt_keypoints", points, depth=3),
            keypoint_order=record.text("keypoint_order", default=KEYPOINT_ORDERS[0]),
        )
        triplet.others = record.others()
        yield place, triplet, record.faults


def _unread(name: str) -> Triplet:
    return Triplet(name, *[None] * 9, keypoint_order=None)


def _released_samples(folder: Path, predicate: str | None) -> Iterator[tuple[str, Triplet, list[str]]]:
    try:
        samples = read_json(read_text(folder / RELEASED_METADATA))
    except ValueError as error:
        raise ValueError(f"`{folder / RELEASED_METADATA}`: {error}") from error
    if not isinstance(samples, dict):
        raise ValueError(f"`{folder / RELEASED_METADATA}` must be a JSON object of samples by number.")
    for index, fields in samples.items():
        record = Record(fields)
        prompt, phrases = record.text("prompt"), record.texts("entities")
        if "predicate" in record:
            words = record.first_text("predicate")
        else:
            words = predicate or _told_by(prompt, phrases, record.faults)
        videos, masks = folder / "videos" / index, folder / "masks" / index
        objects = range(len(phrases or []))
        files = [masks / f"motion{j}.png" for j in objects]
        names = ("concept_keyposes_one", "concept_keyposes_two")[: len(objects)]
        points = [_released_keypoints(videos / f"{name}.pth", record.faults) for name in names]
        triplet = Triplet(
            name=f"sample {index}",
            image=videos / "motion.png",
            image_prompts=[videos / f"concept{j}.png" for j in objects],
            prompt=prompt,
            phrases=phrases,
            predicate=words,
            boxes=_boxes(files),
            masks=files,
            keypoints=_released_keypoints(videos / "motion_keyposes.pth", record.faults),
            image_prompt_keypoints=None if not points or any(p is None for p in points) else torch.cat(points),
        )
        triplet.others = record.others()
        yield f"sample {index}", triplet, record.faults


def _told_by(prompt: str | None, phrases: list[str] | None, faults: list[str]) -> str | None:
    if prompt is None or phrases is None:
        return None
    found = sentence_predicate(prompt, phrases)
    if found is None:
        faults.append(f"lacks 'predicate', and the sentence {prompt!r} tells none. Pass it as `--predicate`.")
    return found


def _boxes(files: list[Path]) -> torch.Tensor | None:
    """(N, 4) around masks; None when one cannot be read, which the check of the files reports."""
    try:
        return torch.stack([bounding_boxes(read_mask(file)) for file in files]) if files else torch.zeros(0, 4)
    except ValueError:
        return None


def _released_keypoints(file: Path, faults: list[str]) -> torch.Tensor | None:
    """(N, K, 2) without visibility → (N, K, 3), all visible."""
    try:
        points = torch.load(file, map_location="cpu", weights_only=True)
    except Exception as error:  # a damaged pickle raises any of a dozen kinds; the cause is kept
        faults.append(f"`{file}` cannot be read safely ({type(error).__name__}: {error}).")
        return None
    if not isinstance(points, torch.Tensor) or points.ndim != 3 or points.shape[1:] != (KEYPOINT_COUNT, 2):
        faults.append(f"`{file}` must hold a tensor of shape (N, {KEYPOINT_COUNT}, 2), x and y in [0, 1].")
        return None
    return torch.cat([points.float(), torch.ones_like(points[..., :1], dtype=torch.float32)], dim=-1)
