"""Triplet folders on disk for the tests, in both layouts, and small changes to them."""

import json
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from relationbooth_pipeline.triplets import METADATA, Triplet, write_metadata
from tests.tiny import photo

BOXES = [[0.0, 0.0, 0.6, 1.0], [0.4, 0.0, 1.0, 1.0]]


def filled(box, size=(40, 40)) -> torch.Tensor:
    mask = torch.zeros(size, dtype=torch.bool)
    x0, y0, x1, y1 = (round(side * 40) for side in box)
    mask[y0:y1, x0:x1] = True
    return mask


def points(box, count=17, seed=0) -> torch.Tensor:
    """Visible keypoints drawn inside a box."""
    corner, size = torch.tensor(box[:2]), torch.tensor(box[2:]) - torch.tensor(box[:2])
    inside = corner + size * torch.rand(count, 2, generator=torch.Generator().manual_seed(seed)) * 0.99
    return torch.cat([inside, torch.ones(count, 1)], dim=1)


def save_mask(box, file: Path) -> None:
    Image.fromarray(filled(box).numpy().astype(np.uint8) * 255).save(file)


def save_folder(folder: Path) -> Path:
    """One valid triplet of two objects that overlap, in our layout."""
    for name in ("target", "cat", "bear"):
        photo(size=(40, 40)).save(folder / f"{name}.png")
    for i, box in enumerate(BOXES):
        save_mask(box, folder / f"mask{i}.png")
    triplet = Triplet(
        name="",
        image=folder / "target.png",
        image_prompts=[folder / "cat.png", folder / "bear.png"],
        prompt="A cat is hugging a bear",
        phrases=["cat", "bear"],
        predicate="is hugging",
        boxes=torch.tensor(BOXES),
        masks=[folder / "mask0.png", folder / "mask1.png"],
        keypoints=torch.stack([points([0, 0, 0.4, 1]), points([0.6, 0, 1, 1])]),
        image_prompt_keypoints=torch.stack([points([0, 0, 1, 1], seed=i) for i in (1, 2)]),
    )
    write_metadata(folder, [triplet])
    return folder


def save_released(folder: Path, samples: dict[str, dict]) -> Path:
    """A folder in the released layout: pictures, masks and keypoints of two objects for every sample of its JSON."""
    for index in samples:
        videos, masks = folder / "videos" / index, folder / "masks" / index
        videos.mkdir(parents=True)
        masks.mkdir(parents=True)
        photo(size=(40, 40)).save(videos / "motion.png")
        for i, (box, name) in enumerate(zip(BOXES, ("one", "two"))):
            photo(i, size=(30, 40)).save(videos / f"concept{i}.png")
            save_mask(box, masks / f"motion{i}.png")
            torch.save(points([0, 0, 1, 1], seed=i)[None, :, :2], videos / f"concept_keyposes_{name}.pth")
        keypoints = torch.stack([points([0, 0, 0.4, 1]), points([0.6, 0, 1, 1])])
        torch.save(keypoints[..., :2], videos / "motion_keyposes.pth")
    (folder / "prompts.json").write_text(json.dumps(samples), encoding="utf-8")
    return folder


def line(folder: Path) -> dict:
    """The fields of the only triplet."""
    return json.loads((folder / METADATA).read_text(encoding="utf-8"))


def edit(folder: Path, **fields) -> None:
    """Change fields of the only triplet; `...` takes one out."""
    changed = {key: value for key, value in {**line(folder), **fields}.items() if value is not ...}
    (folder / METADATA).write_text(json.dumps(changed), encoding="utf-8")
