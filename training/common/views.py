"""Views of a triplet's target: resize, crop and flip that take boxes, keypoints and masks along.

Shape letters: N objects, K keypoints, H W pixels of the view.
"""

import math
import random
from dataclasses import dataclass

import numpy as np
import torch
from PIL import Image

from relationbooth_pipeline.relation_images import open_image, read_mask
from relationbooth_pipeline.triplets import Triplet

# Left and right change places when a picture is mirrored.
MIRROR_PAIRS = {
    "AP-10K": ((0, 1), (5, 8), (6, 9), (7, 10), (11, 14), (12, 15), (13, 16)),
    "COCO": ((1, 2), (3, 4), (5, 6), (7, 8), (9, 10), (11, 12), (13, 14), (15, 16)),
}
LARGEST_ASPECT = 2.0  # width over height, or its inverse, of a bucket
BUCKETS_PER_SIDE = 16  # a side is a multiple of resolution / 16: 64 pixels at 1024, as SDXL was trained
LEAST_KEPT = 0.8  # of every box's area, else another crop is drawn
CROP_DRAWS = 10


@dataclass
class View:
    """One training view of a target image.

    Attributes:
        pixels: (3, H, W), in [-1, 1].
        boxes: (N, 4), XYXY in [0, 1] of the view.
        keypoints: (N, K, 3): x, y in [0, 1], and 1 when visible and inside the view.
        masks: bool (N, H, W); filled boxes where the triplet has no masks.
        original_size: (height, width) of the file, pixels; crop_top_left: of the resized image, pixels. Both are read
            by SDXL.
    """

    pixels: torch.Tensor
    boxes: torch.Tensor
    keypoints: torch.Tensor
    masks: torch.Tensor
    original_size: tuple[int, int]
    crop_top_left: tuple[int, int]


def bucket_size(width: int, height: int, resolution: int) -> tuple[int, int]:
    """(width, height) of the aspect bucket nearest to an image's shape, with at most `resolution`² pixels."""
    step = max(8, resolution // BUCKETS_PER_SIDE)
    widths = range(step, int(resolution * LARGEST_ASPECT) + 1, step)
    sizes = [(w, resolution**2 // w // step * step) for w in widths]
    sizes = [(w, h) for w, h in sizes if h and max(w / h, h / w) <= LARGEST_ASPECT]
    # A bucket of the right shape with the most pixels: 1023 × 1024 must not fall to 960 × 1024.
    return min(sizes, key=lambda size: (abs(math.log(size[0] / size[1] * height / width)), -size[0] * size[1]))


def draw_view(
    triplet: Triplet,
    resolution: int,
    rng: random.Random,
    largest_zoom: float = 1.15,
    center_crop: bool = False,
    random_flip: bool = False,
) -> View:
    """A random view in the triplet's own aspect bucket.

    Args:
        resolution: the view has about resolution² pixels.
        largest_zoom: how much closer than the widest crop a view may be; the released code's 1.
        center_crop: take the widest, central crop always.
        random_flip: mirror half of the views; left and right keypoints then change places.
    """
    image = open_image(triplet.image)
    size = bucket_size(*image.size, resolution)
    window = _widest(image.size, size) if center_crop else _random_window(image.size, size, triplet, rng, largest_zoom)
    flip = random_flip and rng.random() < 0.5
    return cut_view(triplet, image, size, window, flip)


def cut_view(triplet: Triplet, image: Image.Image, size, window, flip: bool = False) -> View:
    """The view that shows `window` (left, top, right, bottom; pixels of the file, fractions allowed) at `size`."""
    left, top, right, bottom = window
    start = torch.tensor([left, top])
    extent = torch.tensor([right - left, bottom - top])
    picture_size = torch.tensor(image.size, dtype=torch.float32)

    boxes = ((triplet.boxes.view(-1, 2, 2) * picture_size - start) / extent).clamp(0, 1)
    points = (triplet.keypoints[..., :2] * picture_size - start) / extent
    inside = ((points >= 0) & (points <= 1)).all(-1) & (triplet.keypoints[..., 2] > 0)
    keypoints = torch.cat([points.clamp(0, 1), inside[..., None].float()], dim=-1)
    pixels = image.resize(size, Image.Resampling.LANCZOS, box=window)
    masks = _cut_masks(triplet, size, window, boxes.flatten(1))
    if flip:
        pixels, masks = pixels.transpose(Image.Transpose.FLIP_LEFT_RIGHT), masks.flip(-1)
        boxes = torch.stack([1 - boxes[:, 1, 0], boxes[:, 0, 1], 1 - boxes[:, 0, 0], boxes[:, 1, 1]], -1)
        keypoints[..., 0] = 1 - keypoints[..., 0]
        keypoints = keypoints[:, mirrored_order(triplet.keypoint_order)]
    scale = size[0] / (right - left)
    values = torch.from_numpy(np.asarray(pixels).copy()).permute(2, 0, 1).float() / 127.5 - 1
    return View(
        pixels=values,
        boxes=boxes.flatten(1),
        keypoints=keypoints,
        masks=masks,
        original_size=(image.height, image.width),
        crop_top_left=(round(top * scale), round(left * scale)),
    )


def mirrored_order(order: str) -> list[int]:
    """Indices that exchange the left and right points of an order."""
    indices = list(range(17))
    for a, b in MIRROR_PAIRS[order]:
        indices[a], indices[b] = b, a
    return indices


def _widest(picture, size):
    """The largest central window of the bucket's shape."""
    scale = max(size[0] / picture[0], size[1] / picture[1])
    width, height = size[0] / scale, size[1] / scale
    left, top = (picture[0] - width) / 2, (picture[1] - height) / 2
    return left, top, left + width, top + height


def _random_window(picture, size, triplet, rng, largest_zoom):
    """A window that keeps at least `LEAST_KEPT` of every box; the best of the draws when none does."""
    widest, best, best_kept = _widest(picture, size), None, -1.0
    for _ in range(CROP_DRAWS):
        zoom = rng.uniform(1.0, largest_zoom)
        width, height = (widest[2] - widest[0]) / zoom, (widest[3] - widest[1]) / zoom
        left, top = rng.uniform(0, picture[0] - width), rng.uniform(0, picture[1] - height)
        window = (left, top, left + width, top + height)
        kept = _least_kept(triplet.boxes * torch.tensor(picture).repeat(2), window)
        if kept >= LEAST_KEPT:
            return window
        if kept > best_kept:
            best, best_kept = window, kept
    return best


def _least_kept(boxes: torch.Tensor, window) -> float:
    """Least share of a box's area inside the window; all in pixels."""
    limits = torch.tensor(window)
    low, high = torch.maximum(boxes[:, :2], limits[:2]), torch.minimum(boxes[:, 2:], limits[2:])
    return ((high - low).clamp(min=0).prod(1) / (boxes[:, 2:] - boxes[:, :2]).prod(1)).min().item()


def _cut_masks(triplet: Triplet, size, window, boxes: torch.Tensor) -> torch.Tensor:
    width, height = size
    if triplet.masks is None:
        masks = torch.zeros(len(boxes), height, width, dtype=torch.bool)
        for mask, (x0, y0, x1, y1) in zip(masks, boxes.tolist()):
            mask[round(y0 * height) : round(y1 * height), round(x0 * width) : round(x1 * width)] = True
        return masks
    cut = [
        Image.fromarray(read_mask(file).numpy()).convert("L").resize(size, Image.Resampling.NEAREST, box=window)
        for file in triplet.masks
    ]
    return torch.stack([torch.from_numpy(np.asarray(mask) > 127) for mask in cut])
