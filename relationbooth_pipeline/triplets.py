"""Triplets: target image, image prompts and prompt of one relation, with boxes, masks and keypoints; read and checked.

Two layouts are read: a `datasets` image folder with `metadata.jsonl` (ours), and the released one (`prompts.json`,
`videos/<i>/`, `masks/<i>/`). Every fault of a folder is found before the first is raised.
"""

import json
import shutil
import tempfile
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch

from .relation_images import open_image
from .relation_inputs import check_box
from .relation_regions import bounding_boxes

KEYPOINT_ORDERS = ("AP-10K", "COCO")  # of the same 17 points' lists: never match keypoints across orders
KEYPOINT_COUNT = 17
METADATA = "metadata.jsonl"


@dataclass
class Triplet:
    """One training sample of a relation.

    Shapes: N objects, K = 17 keypoints.

    Attributes:
        name: where it stands in the folder, for messages.
        image: the target image's file.
        image_prompts: files of the N objects, in other poses than in the target.
        prompt, phrases, predicate: phrases and predicate stand in the prompt word by word.
        boxes: (N, 4), XYXY in [0, 1].
        masks: files of the N objects' masks in the target, of the target's size; None without masks.
        keypoints: of each object in the target, (N, K, 3): x, y in [0, 1], and 1 when visible.
        image_prompt_keypoints: in the image prompts, in the same order of points.
        keypoint_order: name of that order.
    """

    name: str
    image: Path
    image_prompts: list[Path]
    prompt: str
    phrases: list[str]
    predicate: str
    boxes: torch.Tensor
    masks: list[Path] | None
    keypoints: torch.Tensor
    image_prompt_keypoints: torch.Tensor
    keypoint_order: str = KEYPOINT_ORDERS[0]


class TripletError(ValueError):
    """All faults of a folder, one line each."""

    def __init__(self, faults: list[str]):
        self.faults = faults
        super().__init__("\n".join(faults))


def read_triplets(folder: str | Path) -> list[Triplet]:
    """Triplets of a folder in either layout, validated.

    Raises:
        TripletError: names sample, field, rule and value of every fault. Swapped keypoints are not among them: see
            `triplet_keypoints`.
    """
    folder = Path(folder)
    if (folder / METADATA).is_file():
        samples = _metadata_samples(folder)
    elif (folder / "prompts.json").is_file():
        samples = _released_samples(folder)
    else:
        raise TripletError([f"`{folder}` holds neither `{METADATA}` nor `prompts.json`: it is no triplet folder."])
    triplets, faults = [], []
    for name, read in samples:
        try:
            triplet = read()
        except (ValueError, KeyError, TypeError) as error:
            reason = f"lacks {error}" if isinstance(error, KeyError) else error
            faults.append(f"{name}: {reason}")
            continue
        found = list(triplet_faults(triplet))
        faults += [f"{name}: {fault}" for fault in found]
        triplets.append(triplet)
    if not triplets and not faults:
        faults = [f"`{folder}` holds no triplet. Add at least one sample."]
    if faults:
        raise TripletError(faults)
    return triplets


def triplet_faults(triplet: Triplet):
    """Yield what is wrong with a triplet, each fault as argument, rule and value."""
    count = len(triplet.image_prompts)
    counted = {"phrases": triplet.phrases, "boxes": triplet.boxes, "keypoints": triplet.keypoints}
    counted |= {"image_prompt_keypoints": triplet.image_prompt_keypoints, "masks": triplet.masks or [0] * count}
    for field, values in counted.items():
        if len(values) != count:
            yield f"`{field}` must have one entry per image prompt ({count}), got {len(values)}."
    if not count:
        yield "`image_prompts` must name at least one image."
    for phrase in [*triplet.phrases, triplet.predicate]:
        if not phrase or phrase not in triplet.prompt:
            yield f"{phrase!r} must stand in the prompt {triplet.prompt!r}."
    for box in triplet.boxes.tolist():
        yield from _raised(check_box, box)
    for field in ("keypoints", "image_prompt_keypoints"):
        values = getattr(triplet, field)
        if values.ndim != 3 or values.shape[1:] != (KEYPOINT_COUNT, 3):
            yield f"`{field}` must have shape (N, {KEYPOINT_COUNT}, 3), got {tuple(values.shape)}."
        elif not torch.isfinite(values).all() or values.min() < 0 or values.max() > 1:
            yield (
                f"`{field}` must lie in [0, 1], got values from {values.min():g} to {values.max():g}. Divide pixels by "
                "the image's width and height."
            )
    if triplet.keypoint_order not in KEYPOINT_ORDERS:
        yield f"`keypoint_order` must be one of {', '.join(KEYPOINT_ORDERS)}, got {triplet.keypoint_order!r}."
    for file in [triplet.image, *triplet.image_prompts]:
        yield from _raised(open_image, file)
    yield from _mask_faults(triplet)


def _mask_faults(triplet: Triplet):
    for file in triplet.masks or []:
        fault = next(_raised(open_image, file), None)
        if fault is None and triplet.image.is_file():
            size, expected = open_image(file).size, open_image(triplet.image).size
            if size != expected:
                fault = f"`{file.name}` must have the target's size {expected}, got {size}."
            elif not read_mask(file).any():
                fault = f"`{file.name}` must cover at least one pixel."
        if fault:
            yield fault


def _raised(check, value):
    try:
        check(value)
    except ValueError as error:
        yield str(error)


def read_mask(file: Path) -> torch.Tensor:
    """Boolean mask (H, W) of an image file: above half is inside."""
    return torch.from_numpy(np.asarray(open_image(file).convert("L")) > 127)


def write_metadata(folder: str | Path, triplets: list[Triplet]) -> None:
    """Write `metadata.jsonl` for triplets whose files lie in `folder`, whole or not at all."""
    folder = Path(folder)

    def relative(file: Path) -> str:
        return file.relative_to(folder).as_posix()

    lines = []
    for t in triplets:
        fields = {
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
    temporary = folder / f".{METADATA}.tmp"
    temporary.write_text("\n".join(lines) + "\n")
    temporary.replace(folder / METADATA)


def import_triplets(triplets: list[Triplet], folder: str | Path) -> None:
    """Copy triplets and their files into a new folder in our layout, whole or not at all.

    Raises:
        ValueError: the folder exists.
    """
    folder = Path(folder)
    if folder.exists():
        raise ValueError(f"`{folder}` exists. Choose a new folder.")
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=f".{folder.name}-") as temporary:
        fresh = Path(temporary) / "new"
        fresh.mkdir()

        def copied(file: Path, name: str) -> Path:
            return Path(shutil.copyfile(file, fresh / f"{name}{file.suffix.lower()}"))

        moved = []
        for i, t in enumerate(triplets):
            prompts = [copied(file, f"{i:04d}_object_{j}") for j, file in enumerate(t.image_prompts)]
            masks = None if t.masks is None else [copied(f, f"{i:04d}_mask_{j}") for j, f in enumerate(t.masks)]
            moved.append(replace(t, image=copied(t.image, f"{i:04d}"), image_prompts=prompts, masks=masks))
        write_metadata(fresh, moved)
        fresh.rename(folder)


def _metadata_samples(folder: Path):
    for number, line in enumerate((folder / METADATA).read_text().splitlines(), start=1):

        def read(number=number, line=line) -> Triplet:
            fields = json.loads(line)
            masks = fields.get("masks")
            return Triplet(
                name=f"line {number}",
                image=folder / fields["file_name"],
                image_prompts=[folder / file for file in fields["image_prompts"]],
                prompt=fields["prompt"],
                phrases=fields["phrases"],
                predicate=fields["predicate"],
                boxes=torch.tensor(fields["boxes"], dtype=torch.float32),
                masks=None if masks is None else [folder / file for file in masks],
                keypoints=torch.tensor(fields["keypoints"], dtype=torch.float32),
                image_prompt_keypoints=torch.tensor(fields["image_prompt_keypoints"], dtype=torch.float32),
                keypoint_order=fields.get("keypoint_order", KEYPOINT_ORDERS[0]),
            )

        yield f"{METADATA} line {number}", read


def _released_samples(folder: Path):
    try:
        prompts = json.loads((folder / "prompts.json").read_text())
    except ValueError as error:
        raise TripletError([f"`prompts.json` is no JSON ({error})."]) from error
    for index, fields in prompts.items():

        def read(index=index, fields=fields) -> Triplet:
            videos, masks = folder / "videos" / index, folder / "masks" / index
            phrases = fields["entities"]
            files = [masks / f"motion{j}.png" for j in range(len(phrases))]
            names = ("concept_keyposes_one", "concept_keyposes_two")[: len(phrases)]
            prompt_keypoints = torch.cat([_released_keypoints(videos / f"{name}.pth") for name in names])
            return Triplet(
                name=f"sample {index}",
                image=videos / "motion.png",
                image_prompts=[videos / f"concept{j}.png" for j in range(len(phrases))],
                prompt=fields["prompt"],
                phrases=phrases,
                predicate=fields["predicate"][0],
                boxes=torch.stack([bounding_boxes(read_mask(file)) for file in files]),
                masks=files,
                keypoints=_released_keypoints(videos / "motion_keyposes.pth"),
                image_prompt_keypoints=prompt_keypoints,
            )

        yield f"sample {index}", read


def _released_keypoints(file: Path) -> torch.Tensor:
    """(N, K, 2) without visibility → (N, K, 3), all visible."""
    try:
        points = torch.load(file, map_location="cpu", weights_only=True).float()
    except Exception as error:  # a damaged pickle raises any of a dozen kinds; the cause is kept
        raise ValueError(f"`{file}` cannot be read safely ({type(error).__name__}: {error}).") from error
    return torch.cat([points, torch.ones_like(points[..., :1])], dim=-1)
