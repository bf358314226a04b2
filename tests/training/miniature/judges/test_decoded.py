"""Renders through the autoencoder: a little noise keeps them whole, much of it breaks them where the figures are."""

import random

import numpy as np
import pytest
import torch
from diffusers import AutoencoderKL

from relationbooth_pipeline import miniature
from training.miniature.judges import decoded as module
from training.miniature.judges.decoded import decoded, figures_box
from training.miniature.judges.scenes import draw_scenes
from training.miniature.stages.autoencoder import reconstruct
from training.miniature.world.pictures import to_pictures, to_tensor
from training.miniature.world.splits import training_character


@pytest.fixture(scope="module")
def vae():
    return AutoencoderKL.from_pretrained(miniature.path() / "vae", torch_dtype=torch.float32).eval()


@pytest.fixture(scope="module")
def scenes():
    return draw_scenes(3, random.Random(4), lambda rng: training_character(rng, 0.0))


def test_without_noise_it_is_the_autoencoder_s_round_trip(vae, scenes, monkeypatch):
    monkeypatch.setattr(module, "WHOLE_NOISE", (0.0, 0.0))
    images = [scene.image for scene in scenes]
    found = np.stack(decoded(vae, images, random.Random(0)))
    expected = to_pictures(reconstruct(vae, to_tensor(images)))
    assert found.dtype == np.uint8 and np.abs(found.astype(int) - expected).max() <= 1


def test_the_same_draws_give_the_same_pictures_and_others_others(vae, scenes):
    images = [scene.image for scene in scenes]
    first, again, other = (np.stack(decoded(vae, images, random.Random(seed))) for seed in (1, 1, 2))
    assert np.array_equal(first, again) and not np.array_equal(first, other)


def test_what_is_broken_is_broken_inside_the_figures_box_alone(vae, scenes, monkeypatch):
    monkeypatch.setattr(module, "WHOLE_NOISE", (0.0, 0.0))
    monkeypatch.setattr(module, "BROKEN_PART", (1.0, 1.0))
    images, boxes = [scene.image for scene in scenes], [figures_box(scene) for scene in scenes]
    whole = np.stack(decoded(vae, images, random.Random(0))).astype(int)
    broken = np.stack(decoded(vae, images, random.Random(0), boxes)).astype(int)
    for before, after, box in zip(whole, broken, boxes):
        inside, size = np.zeros(before.shape[:2], bool), before.shape[0]
        x0, y0, x1, y1 = (round(value * size) for value in box)
        inside[y0:y1, x0:x1] = True
        away = np.ones_like(inside)
        away[max(0, y0 - 24) : y1 + 24, max(0, x0 - 24) : x1 + 24] = False  # a decoder's cells see their neighbours
        changes = np.abs(before - after).mean(-1)
        assert changes[inside].mean() > 12
        if away.any():  # group norms and the middle's attention carry a little of a change everywhere
            assert changes[away].mean() < min(6, changes[inside].mean() / 4)


@pytest.mark.parametrize("box", ([0.0, 0.0, 1.0, 1.0], [0.98, 0.98, 1.0, 1.0], [0.0, 0.9, 0.01, 1.0]))
def test_a_part_has_cells_inside_the_latents(box):
    for seed in range(50):
        for part in module._part(box, 16, random.Random(seed)):
            assert 0 <= part.start and part.stop - part.start >= 2 and part.start <= 14
