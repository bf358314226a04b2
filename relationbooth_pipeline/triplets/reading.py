"""Triplets: target image, image prompts and prompt of one relation, with boxes, masks and keypoints; read.

Two layouts are read: a `datasets` image folder with `metadata.jsonl` (ours), and the released one (`prompts.json`,
`videos/<i>/`, `masks/<i>/`). Every fault of a folder is found before the first is raised.
"""

import json
from pathlib import Path

import torch

from ..relation_regions import bounding_boxes
from .checking import read_mask, triplet_faults
from .triplet import KEYPOINT_ORDERS, METADATA, Triplet, TripletError


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
