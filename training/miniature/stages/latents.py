"""Scenes rendered once and kept as latents: what base and adapter train on."""

import random

import torch
from tqdm import tqdm

from relationbooth_pipeline.relation_files import whole_file

from ..world.identities import Character
from ..world.pictures import to_tensor
from ..world.poses import ACTIONS, RELATIONS
from ..world.rendering import BACKGROUNDS, render
from ..world.splits import poses_of_kinds, training_character

RELATION_SHARE = 0.7  # singles are 30 %: with a quarter, "waving" stayed weak in the second study
ENCODE_BATCH = 32


def random_scene_content(rng, kinds, unnamed_color_share):
    """(characters, pose, background) of a training scene whose pose is of one of `kinds`."""
    of = RELATIONS if rng.random() < RELATION_SHARE else ACTIONS
    pose = rng.choice(poses_of_kinds(kinds, of))
    characters = [training_character(rng, unnamed_color_share) for _ in range(2 if of is RELATIONS else 1)]
    return characters, pose, rng.choice(tuple(BACKGROUNDS))


def scene_draws(index, seed, kinds, unnamed_color_share):
    """(characters, pose, background, rng to render with) of scene `index`: the same for the same arguments."""
    rng = random.Random(seed * 1_000_003 + index)
    return *random_scene_content(rng, kinds, unnamed_color_share), rng


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


def scene_latents(path, vae, count, kinds, seed, unnamed_color_share=0.15, annotate=False):
    """Render and encode `count` scenes, or load them from `path`.

    Returns:
        {"latents": (count, 8, h, w) float16, "scenes": list of (characters as tuples, pose, background),
         "boxes": list of N x 4 lists, empty unless `annotate`}.
    """
    if path.exists():
        return torch.load(path, weights_only=True)
    latents, scenes, boxes, images = [], [], [], []
    for index in tqdm(range(count), desc="rendering and encoding", mininterval=10):
        characters, pose, background, rng = scene_draws(index, seed, kinds, unnamed_color_share)
        scene = render(characters, pose, background, rng, annotate=annotate)
        images.append(scene.image)
        scenes.append(([as_tuple(character) for character in characters], pose, background))
        boxes.append(scene.boxes.tolist() if annotate else [])
        if len(images) == ENCODE_BATCH or index == count - 1:
            latents.append(encode_images(vae, images))
            images = []
    result = {"latents": torch.cat(latents), "scenes": scenes, "boxes": boxes}
    with whole_file(path) as temporary:
        torch.save(result, temporary)
    return result


def as_tuple(character):
    """Plain values, for files that load with weights_only."""
    coarse = (character.species, character.color, character.marking, character.accessory, character.rgb)
    return (*coarse, character.glyph, character.pupils)


def from_tuple(values):
    return Character(*values[:4], tuple(values[4]), *values[5:])
