"""Scenes rendered once and kept as latents: what base and adapter train on."""

import multiprocessing
import random
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import partial

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


def scene_latents(path, vae, count, kinds, seed, unnamed_color_share=0.15, annotate=False, workers=0):
    """Render and encode `count` scenes, or load them from `path`.

    Args:
        workers: processes that render.
    Returns:
        {"latents": (count, 8, h, w) float16, "scenes": list of (characters as tuples, pose, background),
         "boxes": list of N x 4 lists, empty unless `annotate`}.
    """
    if path.exists():
        return torch.load(path, weights_only=True)
    latents, scenes, boxes, images = [], [], [], []
    draw = partial(draw_scene, seed=seed, kinds=kinds, unnamed_color_share=unnamed_color_share, annotate=annotate)
    drawing = tqdm(drawn(draw, range(count), workers), "rendering and encoding", count, mininterval=10)
    for index, scene in enumerate(drawing):
        images.append(scene.image)
        scenes.append(content_of(scene))
        boxes.append(scene.boxes.tolist() if annotate else [])
        if len(images) == ENCODE_BATCH or index == count - 1:
            latents.append(encode_images(vae, images))
            images = []
    result = {"latents": torch.cat(latents), "scenes": scenes, "boxes": boxes}
    with whole_file(path) as temporary:
        torch.save(result, temporary)
    return result


def detail_shares(path, scenes, kinds, seed, unnamed_color_share=0.15, workers=0):
    """How much of each cell lies within reach of each fine attribute, kept in the file `path`.

    Args:
        scenes, kinds, seed, unnamed_color_share: of `scene_latents`; the same draws give the same scenes again.
    Returns:
        (scenes, 2 characters, 2 attributes, 16, 16) float16 in [0, 1]; None where the edition has no fine attributes.
    """
    if not HAS_FINE_ATTRIBUTES:
        return None
    if path.exists():
        return torch.load(path, weights_only=True)
    draw = partial(draw_scene, seed=seed, kinds=kinds, unnamed_color_share=unnamed_color_share, annotate=False)
    drawing = tqdm(drawn(draw, range(len(scenes)), workers), "finding details", len(scenes), mininterval=10)
    shares = torch.zeros(len(scenes), 2, len(FINE_ATTRIBUTES), CELLS, CELLS, dtype=torch.float16)
    for index, scene in enumerate(drawing):
        check_same(scene, scenes[index], index)
        for number, places in enumerate(scene.details):
            for kind, name in enumerate(FINE_ATTRIBUTES):
                shares[index, number, kind] = covered(places.get(name, ()))
    with whole_file(path) as temporary:
        torch.save(shares, temporary)
    return shares


def covered(places, cells=CELLS):
    """Share in [0, 1] of each cell within `DETAIL_REACH` of one of the places, (x, y) in [0, 1]: (cells, cells)."""
    edges, result = torch.arange(cells) / cells, torch.zeros(cells, cells)
    for place in places:
        column, row = (
            (
                torch.minimum(edges + 1 / cells, torch.tensor(at + DETAIL_REACH))
                - torch.maximum(edges, torch.tensor(at - DETAIL_REACH))
            ).clamp(min=0)
            * cells
            for at in place
        )
        result = torch.maximum(result, row[:, None] * column)
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


def check_same(scene, content, index):
    """Raise a RuntimeError unless scene `index` is of the same characters, pose and background as its latents."""
    if content_of(scene) != tuple(content):
        raise RuntimeError(f"scene {index} was drawn otherwise than its latents. Remove them, they are outdated.")


def content_of(scene):
    """(characters as tuples, pose, background)."""
    return [as_tuple(character) for character in scene.characters], scene.pose, scene.background


def as_tuple(character):
    """Plain values, for files that load with weights_only."""
    coarse = (character.species, character.color, character.marking, character.accessory, character.rgb)
    return (*coarse, character.glyph, character.pupils)


def from_tuple(values):
    return Character(*values[:4], tuple(values[4]), *values[5:])
