"""Renders that judges learn from, a little spoilt as generated pictures are, and what is asked about places in them."""

import io
import random
from collections.abc import Callable, Sequence

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image

from ..world.identities import Character
from ..world.pictures import to_pictures, to_tensor
from ..world.poses import RELATIONS
from ..world.proportions import PROPORTIONS
from ..world.rendering import BACKGROUNDS, Scene, empty_place, render
from ..world.splits import known_poses, portrait_poses

Draw = Callable[[random.Random], Character]
PHOTO_SHARE = 0.1  # of the scenes: who was never seen so small would be taken for nobody


def draw_photo(character: Character, rng: random.Random, annotate: bool = True) -> Scene:
    """A character alone, as image prompts and the bench's photos show it: smaller than in a scene."""
    place, scale = rng.choice(tuple(BACKGROUNDS)), PROPORTIONS.portrait
    return render([character], rng.choice(portrait_poses()), place, rng, annotate=annotate, figure_scale=scale)


def draw_nobody(character: Character, rng: random.Random) -> Scene:
    """An empty place, or one colour alone: a scene of a character of whom nothing is seen."""
    place = rng.choice(tuple(BACKGROUNDS))
    image = empty_place(place, rng)
    if rng.random() < 0.5:
        image[:] = [rng.randrange(256) for _ in range(3)]
    masks, boxes, keypoints = np.zeros((1, *image.shape[:2]), bool), np.zeros((1, 4)), np.zeros((1, 17, 3))
    pose = rng.choice(portrait_poses())
    return Scene(image, [character], pose, place, masks, boxes.astype(np.float32), keypoints.astype(np.float32))


def draw_scenes(count: int, rng: random.Random, draw: Draw) -> list[Scene]:
    """Annotated scenes of all poses of this edition, and some photos, with characters from `draw(rng)`."""
    scenes, poses = [], known_poses()
    for _ in range(count):
        if rng.random() < PHOTO_SHARE:
            scenes.append(draw_photo(draw(rng), rng))
            continue
        pose = rng.choice(poses)
        characters = [draw(rng) for _ in range(2 if pose in RELATIONS else 1)]
        scenes.append(render(characters, pose, rng.choice(tuple(BACKGROUNDS)), rng))
    return scenes


def warp(images: torch.Tensor, strength: float, cells: int) -> torch.Tensor:
    """Pictures pulled about smoothly.

    Args:
        images: (B, 3, S, S). strength: standard deviation of the shift, share of the side. cells: waves a side.
    """
    size = images.shape[-1]
    shift = F.interpolate(torch.randn(len(images), 2, cells, cells), (size, size), mode="bicubic", align_corners=False)
    steps = (torch.arange(size) + 0.5) * 2 / size - 1
    grid = torch.stack(torch.meshgrid(steps, steps, indexing="xy"), -1)
    shifted = grid + 2 * strength * shift.permute(0, 2, 3, 1)
    return F.grid_sample(images, shifted, padding_mode="border", align_corners=False)


def blurred(images: torch.Tensor, share: float) -> torch.Tensor:
    """Pictures drawn at `share` of their side, enlarged again."""
    small = F.interpolate(images, scale_factor=share, mode="bilinear", antialias=True)
    return F.interpolate(small, images.shape[-2:], mode="bilinear")


def compressed(images: torch.Tensor, quality: int) -> torch.Tensor:
    """Pictures after JPEG: blocks and smeared colours, somewhat as a VAE leaves them."""
    found = []
    for picture in to_pictures(images):
        file = io.BytesIO()
        Image.fromarray(picture).save(file, "JPEG", quality=quality)
        found.append(np.asarray(Image.open(file)))
    return to_tensor(found)


def soften(images: torch.Tensor, rng: random.Random) -> torch.Tensor:
    """What whole generated pictures look like: each a little blurred, compressed, noisy, bent or off in tone."""
    parts = []
    for part in images.split(max(1, len(images) // 4)):
        if rng.random() < 0.5:
            part = warp(part, rng.uniform(0.001, 0.006), rng.randrange(3, 8))
        if rng.random() < 0.6:
            part = blurred(part, rng.uniform(0.4, 0.9))
        if rng.random() < 0.25:
            part = compressed(part, rng.randrange(15, 70))
        tone = 1 + 0.12 * (torch.rand(len(part), 3, 1, 1) - 0.5)
        part = part * tone + 0.08 * (torch.rand(len(part), 3, 1, 1) - 0.5)
        if rng.random() < 0.5:
            part = part + torch.randn_like(part) * 0.1 * rng.random()
        parts.append(part.clamp(-1, 1))
    return torch.cat(parts)


def pixels_of(scenes: Sequence[Scene]) -> torch.Tensor:
    """(B, 3, S, S) in [-1, 1]."""
    return to_tensor([scene.image for scene in scenes])


def west_to_east(boxes: np.ndarray) -> torch.Tensor:
    """(1 or 2, 4) XYXY → (2, 4), ordered by their centres' x; the box of a single character twice."""
    found = torch.as_tensor(np.asarray(boxes), dtype=torch.float32)
    return found[(found[:, 0] + found[:, 2]).argsort()].expand(2, 4)


def overlap(first: torch.Tensor, second: torch.Tensor) -> torch.Tensor:
    """Intersection over union of (..., 4) XYXY boxes."""
    low, high = torch.maximum(first[..., :2], second[..., :2]), torch.minimum(first[..., 2:], second[..., 2:])
    both = (high - low).clamp(min=0).prod(-1)
    areas = [(box[..., 2:] - box[..., :2]).clamp(min=0).prod(-1) for box in (first, second)]
    return both / (areas[0] + areas[1] - both).clamp(min=1e-9)


def in_boxes(points: torch.Tensor, boxes: torch.Tensor) -> torch.Tensor:
    """(R, 17, 2) of the picture → of each (R, 4) box."""
    return (points - boxes[:, None, :2]) / (boxes[:, None, 2:] - boxes[:, None, :2])


def keypoint_distance(found: torch.Tensor, expected: torch.Tensor, visible: torch.Tensor) -> torch.Tensor:
    """Mean distance of visible keypoints in units of the box's sides, (R,)."""
    return ((found - expected).norm(dim=-1) * visible).sum(1) / visible.sum(1).clamp(min=1)
