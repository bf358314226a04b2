"""Renders as a generator leaves them: encoded, their latents mixed with noise, decoded by the miniature's autoencoder.

    z' = √(1 − s²) z + s e,   e ~ N(0, 1)

A little everywhere looks as whole generated pictures do; much of it where the figures are looks as broken ones do.
"""

import random
from collections.abc import Sequence

import numpy as np
import torch
from diffusers import AutoencoderKL

from ..stages.latents import ENCODE_BATCH
from ..world.pictures import to_pictures, to_tensor
from ..world.rendering import Scene

WHOLE_NOISE = (0.0, 0.28)  # s of what stays whole
BROKEN_NOISE = (0.45, 0.85)  # s inside a part of who is drawn
BROKEN_PART = (0.5, 1.0)  # of each side of the box around all of them


@torch.no_grad()
def decoded(
    vae: AutoencoderKL, images: Sequence[np.ndarray], rng: random.Random, boxes: Sequence | None = None
) -> list[np.ndarray]:
    """uint8 pictures after the autoencoder and `WHOLE_NOISE`.

    Args:
        images: uint8 (S, S, 3). rng: of s, places and noise.
        boxes: XYXY in [0, 1] around all figures of each; a part of it then has `BROKEN_NOISE`. None: all stay whole.
    """
    found: list[np.ndarray] = []
    for start in range(0, len(images), ENCODE_BATCH):
        part = list(images[start : start + ENCODE_BATCH])
        latents = vae.encode(to_tensor(part).to(vae.device)).latent_dist.mode() * vae.config.scaling_factor
        strength = torch.stack([torch.full(latents.shape[-2:], rng.uniform(*WHOLE_NOISE)) for _ in part])
        for index in range(len(part)) if boxes is not None else ():
            rows, columns = _part(boxes[start + index], latents.shape[-1], rng)
            strength[index, rows, columns] = rng.uniform(*BROKEN_NOISE)
        generator = torch.Generator().manual_seed(rng.randrange(2**31))
        noise = torch.randn(latents.shape, generator=generator).to(vae.device)
        strength = strength[:, None].to(vae.device)
        mixed = (1 - strength.square()).sqrt() * latents + strength * noise
        found += list(to_pictures(vae.decode(mixed / vae.config.scaling_factor).sample.cpu()))
    return found


def figures_box(scene: Scene) -> list[float]:
    """Around all characters of an annotated scene."""
    return [*scene.boxes[:, :2].min(0).tolist(), *scene.boxes[:, 2:].max(0).tolist()]


def _part(box: Sequence[float], cells: int, rng: random.Random) -> tuple[slice, slice]:
    """Rows and columns of cells: a random part of a box, two cells a side at least."""
    sides = []
    for low, high in ((box[1], box[3]), (box[0], box[2])):
        length = (high - low) * rng.uniform(*BROKEN_PART)
        first = round((low + (high - low - length) * rng.random()) * cells)
        sides.append(slice(min(first, cells - 2), max(first + 2, round(first + length * cells))))
    return sides[0], sides[1]
