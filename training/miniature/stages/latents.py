"""Scenes rendered once and kept as latents: what base and adapter train on."""

import multiprocessing
import random
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from tqdm import tqdm

from relationbooth_pipeline.relation_files import whole_file

from ..world.identities import Character
from ..world.pictures import to_tensor
from ..world.poses import ACTIONS, RELATIONS
from ..world.proportions import HAS_FINE_ATTRIBUTES
from ..world.rendering import BACKGROUNDS, IMAGE_SIZE, Scene, render
from ..world.splits import poses_of_kinds, training_character
from .attributes import FINE_ATTRIBUTES

RELATION_SHARE = 0.7  # singles are 30 %: with a quarter, "waving" stayed weak in the second study
ENCODE_BATCH = 32
DRAW_CHUNK = 64  # scenes that a process draws before it hands them over
# of the second edition's scenes show small figures: in the first, a small one was never recognised ("carrying")
SMALL_SHARE = 0.15 if HAS_FINE_ATTRIBUTES else 0.0

GRID = 8  # cells a side: the finest cross-attention of the miniature's UNet
KEPT = {"latents", "scenes", "boxes", "shares", "details"}
CELLS = IMAGE_SIZE // 8  # of latents, a side
DETAIL_WEIGHT = 4.0
DETAIL_REACH = 0.075  # shares of the picture's side: a glyph's diameter is about 1.6 times that


def drawn(draw: Callable, of: Sequence, workers: int = 0) -> Iterator:
    """draw(x) for each x of `of`, in order: drawing takes longer than a GPU needs to encode what is drawn.

    Args:
        draw: a function of a module, or a partial of one. workers: processes; 0: this one alone.
    """
    if not workers:
        yield from map(draw, of)
        return
    # not forked: this process may hold a GPU
    with ProcessPoolExecutor(workers, multiprocessing.get_context("spawn")) as pool:
        yield from pool.map(draw, of, chunksize=DRAW_CHUNK)


def random_scene_content(rng, kinds, unnamed_color_share):
    """(characters, pose, background) of a training scene whose pose is of one of `kinds`."""
    of = RELATIONS if rng.random() < RELATION_SHARE else ACTIONS
    pose = rng.choice(poses_of_kinds(kinds, of))
    characters = [training_character(rng, unnamed_color_share) for _ in range(2 if of is RELATIONS else 1)]
    return characters, pose, rng.choice(tuple(BACKGROUNDS))


def draw_scene(index, seed, kinds, unnamed_color_share, annotate=True, small_share=SMALL_SHARE) -> Scene:
    """Scene `index`: the same for the same arguments, annotated or not."""
    rng = random.Random(seed * 1_000_003 + index)
    characters, pose, background = random_scene_content(rng, kinds, unnamed_color_share)
    small = small_share > 0 and rng.random() < small_share
    return render(characters, pose, background, rng, annotate=annotate, small=small)


@torch.no_grad()
def encode_images(vae, images):
    """Latents of uint8 pictures, scaled, (B, 8, S/8, S/8) float16."""
    pixels = to_tensor(images).to(vae.device)
    return (
        torch.cat(
            [vae.encode(part).latent_dist.mode() * vae.config.scaling_factor for part in pixels.split(ENCODE_BATCH)]
        )
        .half()
        .cpu()
    )


@dataclass(frozen=True)
class DrawnScene:
    """What is kept of a scene: uint8 picture, `content_of`, boxes as lists, and `character_shares`, `detail_shares`."""

    image: np.ndarray
    content: tuple
    boxes: list
    shares: np.ndarray
    details: np.ndarray


def draw_kept(index, **draw) -> DrawnScene:
    """Scene `index` of `draw_scene`, less what does not train: whole masks take longer to hand over than to draw."""
    scene = draw_scene(index, **draw)
    return DrawnScene(
        scene.image, content_of(scene), scene.boxes.tolist(), character_shares(scene.masks), detail_shares(scene)
    )


def check_kept(path, kept, anew, encoder):
    """Raise a ValueError unless what a file keeps is what the encoder makes of the same picture now.

    Precision and the size of a batch move a value by some hundredths of its size; another encoder by more than half.
    """
    if kept.shape != anew.shape or (kept.float() - anew.float()).abs().mean() > 0.2 * anew.float().abs().mean():
        raise ValueError(f"`{path}` was encoded by another {encoder} than is here. Remove it: it comes anew.")


def scene_latents(path, vae, count, kinds, seed, unnamed_color_share=0.15, workers=0):
    """Render and encode `count` scenes, or load them from `path`.

    Args:
        workers: processes that render.
    Returns:
        {"latents": (count, 8, h, w) float16, "scenes": list of (characters as tuples, pose, background),
         "boxes": list of N x 4 lists, "shares": (count, 2, 8, 8) float16 of `character_shares`,
         "details": (count, 2, 2, 16, 16) float16 of `detail_shares`, None where the edition has no fine attributes}.
    Raises:
        ValueError: the file holds something else: an earlier version's or other scenes, another autoencoder's latents.
    """
    draw = partial(draw_kept, seed=seed, kinds=kinds, unnamed_color_share=unnamed_color_share)
    if path.exists():
        result = torch.load(path, weights_only=True)
        if set(result) != KEPT or (result["details"] is None) == HAS_FINE_ATTRIBUTES:
            raise ValueError(f"`{path}` does not hold this version's and edition's scenes. Remove it: they come anew.")
        if len(result["scenes"]) != count:
            told = f"Ask for as many by `--scenes {len(result['scenes'])}`, or remove it: they come anew."
            raise ValueError(f"`{path}` must hold {count} scenes, got {len(result['scenes'])}. {told}")
        first = draw(0)
        check_kept(path, result["latents"][:1], encode_images(vae, [first.image]), "autoencoder")
        if result["scenes"][0] != first.content:
            raise ValueError(f"`{path}` holds other scenes than are asked for. Remove it: they come anew.")
        return result
    latents, kept, images = [], [], []
    drawing = tqdm(drawn(draw, range(count), workers), "rendering and encoding", count, mininterval=10)
    for index, scene in enumerate(drawing):
        images.append(scene.image)
        kept.append((scene.content, scene.boxes, scene.shares, scene.details))
        if len(images) == ENCODE_BATCH or index == count - 1:
            latents.append(encode_images(vae, images))
            images = []
    scenes, boxes, shares, details = zip(*kept)
    shares, details = (torch.from_numpy(np.stack(of)) for of in (shares, details))
    result = {"latents": torch.cat(latents), "scenes": list(scenes), "boxes": list(boxes), "shares": shares}
    result["details"] = details if HAS_FINE_ATTRIBUTES else None
    with whole_file(path) as temporary:
        torch.save(result, temporary)
    return result


def character_shares(masks):
    """How much of each cell of the attention's grid each character covers, float16 (2, 8, 8), in [0, 1].

    Args:
        masks: bool (N, S, S), N at most 2; zeros where there is no second character.
    """
    shares, side = np.zeros((2, GRID, GRID), np.float16), masks.shape[-1] // GRID
    shares[: len(masks)] = masks.reshape(-1, GRID, side, GRID, side).mean((2, 4))
    return shares


def detail_shares(scene):
    """How much of each cell of the latents lies within reach of each fine attribute, float16 (2, 2, 16, 16)."""
    shares = np.zeros((2, len(FINE_ATTRIBUTES), CELLS, CELLS), np.float16)
    for number, places in enumerate(scene.details):
        for kind, name in enumerate(FINE_ATTRIBUTES):
            shares[number, kind] = covered(places.get(name, ()))
    return shares


def covered(places, cells=CELLS):
    """Share in [0, 1] of each cell within `DETAIL_REACH` of one of the places, (x, y) in [0, 1]: (cells, cells)."""
    edges, result = np.arange(cells) / cells, np.zeros((cells, cells))
    for place in places:
        column, row = (
            (np.minimum(edges + 1 / cells, at + DETAIL_REACH) - np.maximum(edges, at - DETAIL_REACH)).clip(0) * cells
            for at in place
        )
        result = np.maximum(result, row[:, None] * column)
    return result


def detail_weights(shares):
    """What each cell's denoising error counts: more where fine attributes are drawn. (B, 16, 16) from `detail_shares`.

    They cover one cell in eight at most, so without it a base or an adapter learns them last.
    """
    return 1 + (DETAIL_WEIGHT - 1) * shares.float().flatten(1, 2).amax(1)


def denoising_loss(output, velocity, weights=None):
    """Mean squared error, each cell weighted.

    Args:
        output, velocity: (B, C, h, w). weights: (B, h, w), or None: all alike.
    """
    error = (output.float() - velocity).square()
    if weights is None:
        return error.mean()
    return (error.mean(1) * weights).sum() / weights.sum()


def content_of(scene):
    """(characters as tuples, pose, background)."""
    return [as_tuple(character) for character in scene.characters], scene.pose, scene.background


def as_tuple(character):
    """Plain values, for files that load with weights_only."""
    coarse = (character.species, character.color, character.marking, character.accessory, character.rgb)
    return (*coarse, character.glyph, character.pupils)


def from_tuple(values):
    return Character(*values[:4], tuple(values[4]), *values[5:])
