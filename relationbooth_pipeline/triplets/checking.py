"""What can be wrong with a triplet, each fault as argument, rule and value."""

from pathlib import Path

import numpy as np
import torch

from ..relation_images import open_image
from ..relation_regions import check_box
from .triplet import KEYPOINT_COUNT, KEYPOINT_ORDERS, Triplet


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
