"""Pictures of one character as a CLIP tower sees them in training: whole, zoomed, and close to a detail."""

from dataclasses import dataclass

import numpy as np
import torch
from PIL import Image

from ..world.poses import ACTIONS
from ..world.proportions import HAS_FINE_ATTRIBUTES, PROPORTIONS
from ..world.rendering import BACKGROUNDS, IMAGE_SIZE, render
from ..world.splits import portrait_poses, poses_of_kinds
from .attributes import ATTRIBUTES, FINE_ATTRIBUTES

# CLIP's normalisation, the one that every image prompt gets at inference.
CLIP_MEAN, CLIP_STD = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)
ZOOM_SHARE = 0.5  # of the views that are not close
SMALLEST_ZOOM = 72  # pixels of IMAGE_SIZE: a head and a half
# A photo of a badge fills CLIP's input; a tower that never saw a detail so large could neither tell what it is when it
# reads a large picture densely, nor teach it. Only characters with details get such views.
CLOSE_SIDES = (20, 52)  # pixels of IMAGE_SIZE: distillation cuts a picture in up to six cells a side, 21 pixels each
CLOSE_SHIFT = 0.35  # sides, from the detail to the view's centre at most
DETAIL_MARGIN = 6 / IMAGE_SIZE  # a detail nearer to the view's border is cut off


@dataclass(frozen=True)
class View:
    """Attributes: image, (S, S, 3) uint8; seen: names of the attributes that it can tell."""

    image: np.ndarray
    seen: frozenset[str]


def character_views(character, rng, size, portrait=PROPORTIONS.portrait) -> list[View]:
    """One character in a random known action: a view of it, in half of the cases zoomed, as dense encoding sees it, and
    a close view of each of its details.

    Args:
        size: side of the views, pixels. portrait: the figure's height, a share of its height in a scene.
    """
    # where a detail is to be read, the pose must show it
    pose = rng.choice(portrait_poses() if HAS_FINE_ATTRIBUTES else poses_of_kinds("ab", ACTIONS))
    scene = render([character], pose, rng.choice(tuple(BACKGROUNDS)), rng, annotate=False, figure_scale=portrait)
    box = (IMAGE_SIZE, 0, 0) if rng.random() < 1 - ZOOM_SHARE else _zoom_box(rng, portrait)
    boxes, details = [(box, set(ATTRIBUTES))], scene.details[0]
    for places in details.values():
        boxes.append((_close_box(rng.choice(places), rng), {"color"}))
    return [_view(scene.image, box, seen | _details_in(box, details), size) for box, seen in boxes]


def _view(image, box, seen, size):
    side, left, top = box
    cropped = Image.fromarray(image[top : top + side, left : left + side])
    return View(np.asarray(cropped.resize((size, size), Image.Resampling.BICUBIC)), frozenset(seen))


def _zoom_box(rng, scale):
    """(side, left, top) of a part of a portrait, whose figure of this scale stands at the lower rim."""
    side = rng.randrange(round(SMALLEST_ZOOM * scale), IMAGE_SIZE)
    highest = min(round(IMAGE_SIZE * (1 - scale)), IMAGE_SIZE - side)
    left, top = (IMAGE_SIZE - side) // 2 + rng.randrange(-8, 9), rng.randrange(highest, IMAGE_SIZE - side + 1)
    return side, min(max(0, left), IMAGE_SIZE - side), top


def _close_box(place, rng):
    side = rng.randrange(*CLOSE_SIDES)
    corner = [value * IMAGE_SIZE + rng.uniform(-CLOSE_SHIFT, CLOSE_SHIFT) * side - side / 2 for value in place]
    return side, *(min(max(0, round(value)), IMAGE_SIZE - side) for value in corner)


def _details_in(box, details):
    """Names of the fine attributes of which one place lies inside (side, left, top)."""
    side, left, top = (value / IMAGE_SIZE for value in box)

    def inside(x, y):
        low, high = DETAIL_MARGIN, side - DETAIL_MARGIN
        return low <= x - left <= high and low <= y - top <= high

    return {name for name in FINE_ATTRIBUTES if any(inside(*place) for place in details.get(name, ()))}


def clip_tensor(images):
    """(B, 3, S, S), CLIP-normalised, of uint8 pictures."""
    values = torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2).float() / 255
    return (values - torch.tensor(CLIP_MEAN).view(1, 3, 1, 1)) / torch.tensor(CLIP_STD).view(1, 3, 1, 1)
