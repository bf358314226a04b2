"""Which keypoints count: seen, in the picture, and in their own object's mask or close to it."""

import math
from collections.abc import Sequence

import numpy as np
import torch

from .thresholds import Thresholds


def seen(keypoints: torch.Tensor, t: Thresholds) -> torch.Tensor:
    """bool (N, K) of (N, K, 3): the score is high enough, and the point lies in the picture."""
    inside = ((keypoints[..., :2] >= 0) & (keypoints[..., :2] <= 1)).all(-1)
    return inside & (keypoints[..., 2] >= t.keypoint_score)


def inside_own_mask(
    keypoints: torch.Tensor,
    masks: Sequence[np.ndarray | None],
    boxes: Sequence[Sequence[float] | None],
    t: Thresholds,
) -> torch.Tensor:
    """bool (N, K): a pixel of the own mask lies within reach, along rows and along columns.

        reach = ⌈keypoint_reach · longer side of the own box in pixels⌉

    Without a mask or a box: nowhere.
    """
    result = torch.zeros(keypoints.shape[:2], dtype=torch.bool)
    for i, (mask, box) in enumerate(zip(masks, boxes)):
        if mask is None or box is None:
            continue
        height, width = mask.shape
        reach = math.ceil(t.keypoint_reach * max((box[2] - box[0]) * width, (box[3] - box[1]) * height))
        for k, (x, y) in enumerate(keypoints[i, :, :2].tolist()):
            if 0 <= x <= 1 and 0 <= y <= 1:
                column, row = min(int(x * width), width - 1), min(int(y * height), height - 1)
                window = mask[max(row - reach, 0) : row + reach + 1, max(column - reach, 0) : column + reach + 1]
                result[i, k] = bool(window.any())
    return result


def box_places(box: Sequence[float], shape: tuple[int, int]) -> tuple[int, int, int, int]:
    """Pixels [x0, x1) and [y0, y1) that a box touches, as (x0, y0, x1, y1); at least one pixel."""
    height, width = shape
    x0, y0 = min(int(box[0] * width), width - 1), min(int(box[1] * height), height - 1)
    return x0, y0, max(math.ceil(box[2] * width), x0 + 1), max(math.ceil(box[3] * height), y0 + 1)
