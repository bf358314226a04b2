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

from .options import ViewOptions

# Left and right change places when a picture is mirrored.
MIRROR_PAIRS = {
    "AP-10K": ((0, 1), (5, 8), (6, 9), (7, 10), (11, 14), (12, 15), (13, 16)),
    "COCO": ((1, 2), (3, 4), (5, 6), (7, 8), (9, 10), (11, 12), (13, 14), (15, 16)),
}
LARGEST_ASPECT = 2.0  # width over height, or its inverse, of a bucket
BUCKETS_PER_SIDE = 16  # sides are about resolution / 16 apart: 64 pixels at 1024, as SDXL was trained
SIDE_MULTIPLE = 8  # pixels of a latent cell's side
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
    """(width, height) of the aspect bucket nearest to an image's shape, with at most `resolution`² pixels.

    Args:
        resolution: a multiple of 8, as the VAE wants both sides to be; one of the sides that buckets have.
    """
    step = max(SIDE_MULTIPLE, resolution // BUCKETS_PER_SIDE // SIDE_MULTIPLE * SIDE_MULTIPLE)
    sides = range((resolution - 1) % step + 1, int(resolution * LARGEST_ASPECT) + 1, step)
    sizes = [(w, max((h for h in sides if w * h <= resolution**2), default=0)) for w in sides]
    sizes = [(w, h) for w, h in sizes if h and max(w / h, h / w) <= LARGEST_ASPECT]
    # A bucket of the right shape with the most pixels: 1023 × 1024 must not fall to 960 × 1024.
    return min(sizes, key=lambda size: (abs(math.log(size[0] / size[1] * height / width)), -size[0] * size[1]))


def draw_view(triplet: Triplet, views: ViewOptions, rng: random.Random) -> View:
    """A random view in the triplet's own aspect bucket."""
    image = open_image(triplet.image)
    size = bucket_size(*image.size, views.resolution)
    if views.center_crop:
        window = widest_window(image.size, size)
    else:
        window = _random_window(image.size, size, triplet, rng, views.largest_zoom)
    return cut_view(triplet, image, size, window, views.random_flip and rng.random() < 0.5)


def cut_view(
    triplet: Triplet,
    image: Image.Image,
    size: tuple[int, int],
    window: tuple[float, float, float, float],
    flip: bool = False,
) -> View:
    """The view that shows `window` (left, top, right, bottom; pixels of the file, fractions allowed) at `size`
    (width, height), mirrored or not."""
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
    if flip:  # a mirrored view is a crop of the mirrored picture
        left = image.width - right
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


def widest_window(picture: tuple[int, int], size: tuple[int, int]) -> tuple[float, float, float, float]:
    """The largest central window of a bucket's shape: left, top, right, bottom, inside the picture.

    Args:
        picture, size: (width, height) of picture and bucket, pixels.
    """
    scale = max(size[0] / picture[0], size[1] / picture[1])
    # Not above the picture's own side: the quotient may exceed it by a rounding error, which Pillow refuses.
    width, height = min(size[0] / scale, picture[0]), min(size[1] / scale, picture[1])
    return _window((picture[0] - width) / 2, (picture[1] - height) / 2, width, height, picture)


def _window(left: float, top: float, width: float, height: float, picture: tuple[int, int]):
    return left, top, min(left + width, picture[0]), min(top + height, picture[1])


def _random_window(picture, size, triplet, rng, largest_zoom):
    """A window that keeps at least `LEAST_KEPT` of every box; the best of the draws when none does."""
    widest, best, best_kept = widest_window(picture, size), None, -1.0
    for _ in range(CROP_DRAWS):
        zoom = rng.uniform(1.0, largest_zoom)
        width, height = (widest[2] - widest[0]) / zoom, (widest[3] - widest[1]) / zoom
        left, top = rng.uniform(0, picture[0] - width), rng.uniform(0, picture[1] - height)
        window = _window(left, top, width, height, picture)
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
