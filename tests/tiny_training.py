"""A tiny SDXL checkpoint and tiny triplets on disk, as the training scripts read them."""

from pathlib import Path

import numpy as np
import torch
from PIL import Image

from relationbooth_pipeline.triplets import Triplet, write_metadata
from tests.tiny import photo, tiny_pipeline

PHRASES = ("cat", "bear", "dog")


def save_checkpoint(folder: Path) -> Path:
    """An SDXL folder, plain but for `relation_adapter/` beside its components, as the miniature's."""
    pipe = tiny_pipeline()
    pipe.save_relation_adapter(folder / "relation_adapter")
    pipe.unload_relation_adapter()
    pipe.save_pretrained(folder)
    return folder


def keypoints_in(box, seed: int) -> torch.Tensor:
    """(17, 3): visible keypoints inside a box."""
    corner, size = torch.tensor(box[:2]), torch.tensor(box[2:]) - torch.tensor(box[:2])
    inside = corner + size * torch.rand(17, 2, generator=torch.Generator().manual_seed(seed)) * 0.99
    return torch.cat([inside, torch.ones(17, 1)], dim=1)


def save_triplets(folder: Path, sizes=((72, 64), (64, 64), (48, 96)), counts=(2, 2, 1)) -> Path:
    """One triplet for each (width, height) of `sizes` with as many objects as `counts` says; noise pictures."""
    folder.mkdir(parents=True, exist_ok=True)
    triplets = []
    for index, ((width, height), count) in enumerate(zip(sizes, counts)):
        target = folder / f"target_{index}.png"
        photo(index, (width, height)).save(target)
        boxes = [[i / count, 0.1, (i + 1) / count, 0.9] for i in range(count)]
        prompts, masks = [], []
        for i, (x0, y0, x1, y1) in enumerate(boxes):
            prompts.append(folder / f"object_{index}_{i}.png")
            photo(10 * index + i, (50, 40)).save(prompts[-1])
            mask = np.zeros((height, width), np.uint8)
            mask[round(y0 * height) : round(y1 * height), round(x0 * width) : round(x1 * width)] = 255
            masks.append(folder / f"mask_{index}_{i}.png")
            Image.fromarray(mask).save(masks[-1])
        phrases = list(PHRASES[:count])
        triplets.append(
            Triplet(
                name=f"line {index + 1}",
                image=target,
                image_prompts=prompts,
                prompt=f"a {' is hugging a '.join(phrases)}" if count > 1 else "a cat is hugging",
                phrases=phrases,
                predicate="is hugging",
                boxes=torch.tensor(boxes),
                masks=masks,
                keypoints=torch.stack([keypoints_in(box, 7 * index + i) for i, box in enumerate(boxes)]),
                image_prompt_keypoints=torch.stack([keypoints_in([0, 0, 1, 1], 90 + i) for i in range(count)]),
            )
        )
    write_metadata(folder, triplets)
    return folder
