"""Drawings spoilt after they were drawn: erased, melted, smeared, or pieced together. Every kind is called broken."""

import random
from collections.abc import Callable

import torch
import torch.nn.functional as F

from ..world.rendering import Scene
from .decoded import figures_box
from .scenes import blurred, pixels_of, warp

# One picture (1, 3, S, S), another one, and a box XYXY in [0, 1] around who is in the first → a spoilt picture
Damage = Callable[[torch.Tensor, torch.Tensor, list[float], random.Random], torch.Tensor]


def _place(box: list[float], share: tuple[float, float], size: int, rng: random.Random) -> tuple[slice, slice]:
    """A random part of a box, each of its sides a `share` of the box's."""
    x0, y0, x1, y1 = box
    width, height = (x1 - x0) * rng.uniform(*share), (y1 - y0) * rng.uniform(*share)
    left, top = x0 + (x1 - x0 - width) * rng.random(), y0 + (y1 - y0 - height) * rng.random()
    rows = slice(int(top * size), max(int(top * size) + 2, int((top + height) * size)))
    return rows, slice(int(left * size), max(int(left * size) + 2, int((left + width) * size)))


def _blend(image: torch.Tensor, spoilt: torch.Tensor, rows: slice, columns: slice) -> torch.Tensor:
    """`spoilt` inside a rounded place with a soft rim, `image` elsewhere."""
    size = image.shape[-1]
    y = torch.linspace(-1, 1, rows.stop - rows.start)[:, None]
    x = torch.linspace(-1, 1, columns.stop - columns.start)[None]
    mask = torch.zeros(1, 1, size, size)
    inside = (1.25 - (x**4 + y**4)).mul(4).clamp(0, 1)
    mask[..., rows, columns] = inside[: mask[..., rows, columns].shape[-2], : mask[..., rows, columns].shape[-1]]
    return image + mask * (spoilt - image)


def erased(image, other, box, rng):
    """Up to three places of the figures filled with a colour of the picture's rim."""
    for _ in range(rng.randrange(1, 4)):
        colour = image[:, :, rng.randrange(image.shape[-1]), rng.choice((0, -1))].view(1, 3, 1, 1)
        rows, columns = _place(box, (0.2, 0.5), image.shape[-1], rng)
        image = _blend(image, colour.expand_as(image), rows, columns)
    return image


def melted(image, other, box, rng):
    """Forms run into one another."""
    spoilt = warp(image, rng.uniform(0.025, 0.07), rng.randrange(5, 14))
    return _blend(image, spoilt, *_place(box, (0.5, 1.0), image.shape[-1], rng))


def smeared(image, other, box, rng):
    """A part without any outline left."""
    return _blend(image, blurred(image, rng.uniform(0.05, 0.12)), *_place(box, (0.45, 1.0), image.shape[-1], rng))


def stained_glass(image, other, box, rng):
    """Cells of one colour each: the picture's own colours, from a little elsewhere."""
    size, cells = image.shape[-1], rng.randrange(40, 180)
    centres = torch.rand(cells, 2)
    steps = (torch.arange(size) + 0.5) / size
    places = torch.stack(torch.meshgrid(steps, steps, indexing="ij"), -1).view(-1, 2)
    nearest = torch.cdist(places, centres).argmin(1)
    taken = ((centres + 0.05 * torch.randn_like(centres)).clamp(0, 0.999) * size).long()
    spoilt = image[:, :, taken[:, 0], taken[:, 1]][:, :, nearest].view_as(image)
    spoilt = image + rng.uniform(0.6, 1.0) * (spoilt - image)
    return _blend(image, spoilt, *_place(box, (0.45, 1.0), size, rng))


def mosaic(image, other, box, rng):
    """Blots with dark rims, of the figures' own colours: bodies that a generator has lost."""
    size, cells = image.shape[-1], rng.randrange(60, 300)
    steps = (torch.arange(size) + 0.5) / size
    places = torch.stack(torch.meshgrid(steps, steps, indexing="ij"), -1)
    places = places + 0.02 * F.interpolate(torch.randn(1, 2, 12, 12), (size, size), mode="bicubic")[0].permute(1, 2, 0)
    centres = torch.rand(cells, 2)
    near, nearest = torch.cdist(places.view(-1, 2), centres).topk(2, 1, largest=False)
    taken = ((centres + 0.06 * torch.randn_like(centres)).clamp(0, 0.999) * size).long()
    spoilt = image[:, :, taken[:, 0], taken[:, 1]][:, :, nearest[:, 0]].view_as(image)
    rims = ((near[:, 1] - near[:, 0]) < rng.uniform(0.008, 0.02)).view(1, 1, size, size).float()
    spoilt = spoilt - rng.uniform(0.0, 0.9) * rims * (spoilt + 1)
    spoilt = image + rng.uniform(0.6, 1.0) * (blurred(spoilt, rng.uniform(0.4, 0.9)) - image)
    return _blend(image, spoilt, *_place(box, (0.5, 1.0), size, rng))


def faded(image, other, box, rng):
    """Up to three small places without their features: eyes, a snout, a paw are wiped away."""
    plain = blurred(image, rng.uniform(0.06, 0.12))
    for _ in range(rng.randrange(2, 4)):
        image = _blend(image, plain, *_place(box, (0.2, 0.4), image.shape[-1], rng))
    return image


def patched(image, other, box, rng):
    """Up to five patches of another picture."""
    for _ in range(rng.randrange(2, 6)):
        image = _blend(image, other, *_place(box, (0.2, 0.45), image.shape[-1], rng))
    return image


def doubled(image, other, box, rng):
    """Another picture shines through."""
    return image + rng.uniform(0.35, 0.65) * (other - image)


def repeated(image, other, box, rng):
    """Parts of the figures where they do not belong."""
    for _ in range(rng.randrange(2, 5)):
        shift = [rng.choice((-1, 1)) * rng.randrange(12, 40) for _ in range(2)]
        spoilt = image.roll(shift, (2, 3))
        image = _blend(image, spoilt, *_place(box, (0.2, 0.45), image.shape[-1], rng))
    return image


def twirled(image, other, box, rng):
    """A part turned about its middle, most in the middle."""
    size = image.shape[-1]
    rows, columns = _place(box, (0.5, 0.9), size, rng)
    middle = torch.tensor([columns.start + columns.stop, rows.start + rows.stop]) / size - 1
    steps = (torch.arange(size) + 0.5) * 2 / size - 1
    offset = torch.stack(torch.meshgrid(steps, steps, indexing="xy"), -1) - middle
    radius = (columns.stop - columns.start + rows.stop - rows.start) / 2 / size
    angle = rng.choice((-1, 1)) * rng.uniform(1.5, 3.5) * (1 - offset.norm(dim=-1) / radius).clamp(min=0)
    turned = torch.stack(
        [
            angle.cos() * offset[..., 0] - angle.sin() * offset[..., 1],
            angle.sin() * offset[..., 0] + angle.cos() * offset[..., 1],
        ],
        -1,
    )
    return F.grid_sample(image, (turned + middle)[None], padding_mode="border", align_corners=False)


def shuffled(image, other, box, rng):
    """Blocks of the figures exchanged with one another."""
    size, side = image.shape[-1], rng.choice((12, 16, 20))
    spoilt = image.clone()
    for _ in range(rng.randrange(4, 9)):
        corners = [_place(box, (0.0, 0.0), size - side, rng) for _ in range(2)]
        first, second = (
            (..., slice(rows.start, rows.start + side), slice(columns.start, columns.start + side))
            for rows, columns in corners
        )
        spoilt[first], spoilt[second] = image[second], image[first]
    return spoilt


DAMAGES: dict[str, Damage] = {
    "erased": erased, "melted": melted, "smeared": smeared, "stained glass": stained_glass, "patched": patched,
    "doubled": doubled, "repeated": repeated, "mosaic": mosaic, "faded": faded,
}  # fmt: skip
HELD_OUT_DAMAGES: dict[str, Damage] = {"twirled": twirled, "shuffled": shuffled}  # no judge trains on these
INSIDE_SHARE = 0.4  # of the damages: silhouettes stay whole


def spoil(scenes: list[Scene], others: list[Scene], damages: dict, rng: random.Random) -> torch.Tensor:
    """(B, 3, S, S): each scene with one of `damages`."""
    images, strangers, found = pixels_of(scenes), pixels_of(others), []
    for index, scene in enumerate(scenes):
        around = figures_box(scene)
        damage, whole = damages[rng.choice(tuple(damages))], images[index : index + 1]
        spoilt = damage(whole, strangers[index : index + 1], around, rng)
        if rng.random() < INSIDE_SHARE:
            inside = torch.from_numpy(scene.masks.any(0)).float()
            spoilt = whole + inside * (spoilt - whole)
        found.append(spoilt)
    return torch.cat(found)
