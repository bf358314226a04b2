"""Evidence of a candidate that passes every rule, and random evidence that passes few."""

from dataclasses import replace

import numpy as np
import torch

from relationbooth_pipeline.triplets.annotation.rules import Evidence

LEFT, RIGHT, WHOLE = (0.0, 0.1, 0.5, 0.9), (0.5, 0.1, 1.0, 0.9), (0.1, 0.1, 0.9, 0.9)


def filled(box, size=(40, 60)) -> np.ndarray:
    """bool (H, W): the pixels of a box."""
    mask = np.zeros(size, dtype=bool)
    x0, y0, x1, y1 = (round(v * side) for v, side in zip(box, (size[1], size[0]) * 2))
    mask[y0:y1, x0:x1] = True
    return mask


def points(box, seed: int, score: float = 0.9) -> torch.Tensor:
    """(17, 3) in a box."""
    corner, size = torch.tensor(box[:2]), torch.tensor(box[2:]) - torch.tensor(box[:2])
    places = corner + size * (0.05 + 0.9 * torch.rand(17, 2, generator=torch.Generator().manual_seed(seed)))
    return torch.cat([places, torch.full((17, 1), score)], dim=1)


def good() -> Evidence:
    """Two objects beside each other, found once each, alike to themselves, in other poses alone."""
    return Evidence(
        phrases=["cat", "dog"],
        found=[[[*LEFT, 0.9]], [[*RIGHT, 0.8]]],
        found_alone=[[[*WHOLE, 0.9]], [[*WHOLE, 0.8]]],
        taken=[0, 0],
        taken_alone=[0, 0],
        boxes=[LEFT, RIGHT],
        boxes_alone=[WHOLE, WHOLE],
        masks=[filled(LEFT), filled(RIGHT)],
        masks_alone=[filled(WHOLE, (50, 50)), filled(WHOLE, (50, 50))],
        keypoints=torch.stack([points(LEFT, 1), points(RIGHT, 2)]),
        keypoints_alone=torch.stack([points(WHOLE, 3), points(WHOLE, 4)]),
        has_keypoints=True,
        similarity=[[0.8, 0.3], [0.3, 0.7]],
        pixels=[0.2, 0.2],
        relation=(0.9, [0.1, 0.1]),
    )


def with_one(values, index: int, value) -> list:
    return [value if i == index else old for i, old in enumerate(values)]


def random_evidence(seed: int) -> Evidence:
    """Boxes, masks, points and figures of any kind, with some missing."""
    rng, generator = np.random.default_rng(seed), torch.Generator().manual_seed(seed)

    def box():
        x, y = np.sort(rng.random(2)), np.sort(rng.random(2))
        return [float(x[0]), float(y[0]), float(x[1]) + 0.01, float(y[1]) + 0.01]

    found = [sorted(([*box(), float(rng.random())] for _ in range(3)), key=lambda b: -b[4]) for _ in range(4)]
    taken = [int(rng.integers(3)) if rng.random() < 0.8 else None for _ in range(4)]
    boxes = [None if k is None else tuple(f[k][:4]) for f, k in zip(found, taken)]
    blobs = [rng.random((20, 30)) < rng.choice([0.05, 0.5, 0.95]) for _ in range(4)]
    masks = [None if b is None or rng.random() < 0.2 else m for b, m in zip(boxes, blobs)]
    keypoints = torch.rand(4, 17, 3, generator=generator) * 1.3 - 0.15
    row = [None if rng.random() < 0.2 else float(rng.random()) for _ in range(4)]
    return replace(
        good(), found=found[:2], found_alone=found[2:], taken=taken[:2], taken_alone=taken[2:], boxes=boxes[:2],
        boxes_alone=boxes[2:], masks=masks[:2], masks_alone=masks[2:], keypoints=keypoints[:2],
        keypoints_alone=keypoints[2:], similarity=[row[:2], row[2:]], pixels=[0.06 * float(rng.random()), None],
        relation=(float(rng.random()), [float(rng.random()), None]),
    )  # fmt: skip
