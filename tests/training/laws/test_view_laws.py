"""What SDXL is told of a crop, how much of the objects a crop keeps, how often it is mirrored."""

import random
from pathlib import Path

import pytest
import torch
from PIL import Image

from relationbooth_pipeline.triplets import Triplet
from tests.tiny import photo, tiny_pipeline
from tests.tiny_training import keypoints_in
from training.adapter import samples
from training.common import views
from training.common.options import ViewOptions
from training.common.views import cut_view, draw_view
from training.lora.cache import encode_prompts
from training.lora.cache import encode_view as encode_lora_view

BOXES = [[0.1, 0.2, 0.5, 0.8], [0.5, 0.2, 0.9, 0.8]]
WINDOW = (50.0, 10.0, 140.0, 70.0)  # of 200 × 120 pixels, shown at 96 × 64


@pytest.fixture
def triplet(tmp_path) -> Triplet:
    files = [tmp_path / f"{name}.png" for name in ("target", "cat", "bear")]
    for i, file in enumerate(files):
        photo(i, (200, 120)).save(file)
    keypoints = torch.stack([keypoints_in(box, seed) for seed, box in enumerate(BOXES)])
    return Triplet(
        "line 1", files[0], files[1:], "a cat is hugging a bear", ["cat", "bear"], "is hugging", torch.tensor(BOXES),
        None, keypoints, keypoints,
    )  # fmt: skip


@pytest.mark.parametrize("flip, left", [(False, 53), (True, 64)])
def test_time_ids_are_original_size_crop_and_size_each_height_first(triplet, monkeypatch, flip, left):
    """96/90 pixels of the view a pixel of the file: the corner (10, 50) lies at (11, 53). A mirrored view is a crop of
    the mirrored picture, whose left edge is 200 − 140 = 60 pixels from the side."""
    pipe = tiny_pipeline()
    view = cut_view(triplet, Image.open(triplet.image), (96, 64), WINDOW, flip)
    expected = [120, 200, 11, left, 64, 96]
    encoded = encode_lora_view(pipe, triplet, view, encode_prompts(pipe, triplet, 64), 0.6)
    assert encoded.time_ids.tolist() == [expected]
    monkeypatch.setattr(samples, "draw_view", lambda *arguments: view)
    found = samples.encode_view(pipe, triplet, ViewOptions(64), random.Random(0))
    assert found["time_ids"].tolist() == expected
    assert found["latent_mean"].shape[-2:] == (8, 12)


def windows(triplet, monkeypatch, count=300, **options):
    """Windows and mirrorings of random views."""
    found = []

    def keep(triplet, image, size, window, flip=False):
        found.append((window, flip))

    monkeypatch.setattr(views, "cut_view", keep)
    for seed in range(count):
        draw_view(triplet, ViewOptions(64, **options), random.Random(seed))
    return found


def kept(window) -> float:
    """Least share of a box's area inside a window, in plain numbers."""
    left, top, right, bottom = window
    shares = []
    for x0, y0, x1, y1 in BOXES:
        width = max(0.0, min(x1 * 200, right) - max(x0 * 200, left))
        height = max(0.0, min(y1 * 120, bottom) - max(y0 * 120, top))
        shares.append(width * height / ((x1 - x0) * 200 * (y1 - y0) * 120))
    return min(shares)


def test_a_random_crop_keeps_at_least_four_fifths_of_every_object(triplet, monkeypatch):
    shares = [kept(window) for window, _ in windows(triplet, monkeypatch, largest_zoom=1.3)]
    assert 0.8 - 1e-5 <= min(shares) < 0.82 and max(shares) == pytest.approx(1.0)


def test_where_no_draw_keeps_enough_the_best_is_taken(triplet, monkeypatch):
    """Ten draws: few of a hundred crops as close as this keep little."""
    triplet.boxes = torch.tensor([[0.0, 0.0, 1.0, 1.0]])
    areas = [
        (right - left) * (bottom - top) / (200 * 120)
        for (left, top, right, bottom), _ in windows(triplet, monkeypatch, largest_zoom=3.0)
    ]
    single = [1 / random.Random(seed).uniform(1, 3) ** 2 for seed in range(300)]  # of the first draw alone
    assert sum(areas) / 300 > 1.5 * sum(single) / 300


def test_half_of_the_views_are_mirrored_when_that_is_asked(triplet, monkeypatch):
    assert 120 < sum(flip for _, flip in windows(triplet, monkeypatch, random_flip=True)) < 180
    assert not any(flip for _, flip in windows(triplet, monkeypatch))


def test_a_view_is_as_close_as_its_zoom_says(triplet, monkeypatch):
    widths = [right - left for (left, _, right, _), _ in windows(triplet, monkeypatch, largest_zoom=1.25)]
    widest = max(widths)
    assert widest / min(widths) <= 1.25 + 1e-5 and widest / min(widths) > 1.2
    assert Path(triplet.image).exists() and widest <= 200
