"""Pictures as the miniature's judges read them: 128 pixels a side, in [-1, 1]; and what stands in a box of them."""

from collections.abc import Sequence

import numpy as np
import torch
from PIL import Image

from .networks import SIDE

BOX_MARGIN = 0.03  # generated characters do not end exactly at their boxes
Pictures = Sequence[Image.Image] | np.ndarray


def pixels_of(pictures: Pictures) -> torch.Tensor:
    """(B, 3, 128, 128) in [-1, 1]; other sizes are squashed, bicubic.

    Args:
        pictures: PIL pictures, or (B, S, S, 3) uint8.
    Raises:
        ValueError: an array of another kind, or no picture.
    """
    if isinstance(pictures, np.ndarray):
        if pictures.dtype != np.uint8 or pictures.ndim != 4 or pictures.shape[-1] != 3:
            raise ValueError(
                f"`pictures` must be (B, S, S, 3) uint8 or PIL pictures, got {pictures.dtype} {pictures.shape}."
            )
        pictures = [Image.fromarray(picture) for picture in pictures]
    if not len(pictures):
        raise ValueError("`pictures` must hold at least one picture, got none.")
    sized = [
        picture.convert("RGB") if picture.size == (SIDE, SIDE) else picture.convert("RGB").resize((SIDE, SIDE), 3)
        for picture in pictures
    ]
    stacked = torch.from_numpy(np.stack([np.asarray(picture) for picture in sized]))
    return stacked.permute(0, 3, 1, 2).float() / 127.5 - 1


def with_margin(boxes: torch.Tensor) -> torch.Tensor:
    """(B, 4) XYXY boxes, a little larger."""
    return boxes + torch.tensor([-BOX_MARGIN, -BOX_MARGIN, BOX_MARGIN, BOX_MARGIN])


def crop_boxes(pixels: torch.Tensor, boxes: torch.Tensor, size: int = SIDE) -> torch.Tensor:
    """The box of each picture, resized: (B, 3, S, S) and (B, 4) XYXY in [0, 1] → (B, 3, size, size)."""
    steps = (torch.arange(size) + 0.5) / size  # the middles of the crop's pixels, in the box
    columns = 2 * (boxes[:, :1] + steps * (boxes[:, 2:3] - boxes[:, :1])) - 1
    rows = 2 * (boxes[:, 1:2] + steps * (boxes[:, 3:] - boxes[:, 1:2])) - 1
    shape = (len(pixels), size, size)
    grid = torch.stack([columns[:, None, :].expand(shape), rows[:, :, None].expand(shape)], -1)
    return torch.nn.functional.grid_sample(pixels, grid, padding_mode="border", align_corners=False)
