"""Pictures that judges must not take for whole: what is damaged, what is not, and what is said of them."""

import random
from dataclasses import replace

import numpy as np
import pytest
import torch

pytest.importorskip("skia", reason="skia-python, which draws the miniature's world, is not installed")

from training.miniature.judges import damage, scenes
from training.miniature.judges.damage import DAMAGES, HELD_OUT_DAMAGES
from training.miniature.judges.pictures import ANSWERS, answer_numbers
from training.miniature.judges.scenes import (
    draw_scenes,
    keypoint_distance,
    overlap,
    pixels_of,
    soften,
    west_to_east,
)
from training.miniature.judges.wrong_layouts import LEAST_CHANGE, WRONG_LAYOUTS, Wrong
from training.miniature.stages.attributes import IGNORED
from training.miniature.world.identities import named_character
from training.miniature.world.poses import POSES, RELATIONS
from training.miniature.world.proportions import EDITIONS
from training.miniature.world.rendering import render
from training.miniature.world.splits import known_poses, training_character


@pytest.mark.parametrize("name", [*DAMAGES, *HELD_OUT_DAMAGES])
def test_every_damage_is_seen_on_the_figure(name):
    """It changes at least a hundredth of the picture; away from the figure only another picture may shine through."""
    rng, spoil = random.Random(3), {**DAMAGES, **HELD_OUT_DAMAGES}[name]
    torch.manual_seed(0)
    first, second = (render([training_character(rng)], "standing", place, rng) for place in ("studio", "night"))
    left, top, right, bottom = first.boxes[0]
    steps = (torch.arange(128) + 0.5) / 128
    near = ((steps > left - 0.2) & (steps < right + 0.2)) & ((steps > top - 0.2) & (steps < bottom + 0.2))[:, None]
    before = pixels_of([first])
    for _ in range(5):
        after = spoil(before, pixels_of([second]), [left, top, right, bottom], rng)
        assert after.shape == before.shape and after.min() >= -1.01 and after.max() <= 1.01
        assert ((after - before).abs().amax(1) > 0.1).float().mean() > 0.01
        if name != "doubled":
            torch.testing.assert_close(after[..., ~near], before[..., ~near])


def test_damage_inside_leaves_what_is_around(monkeypatch):
    """Where silhouettes stay whole, nothing outside of them changes."""
    rng = random.Random(11)
    torch.manual_seed(1)
    scenes = draw_scenes(6, rng, training_character)
    before, around = pixels_of(scenes), torch.from_numpy(np.stack([~scene.masks.any(0) for scene in scenes]))
    monkeypatch.setattr(damage, "INSIDE_SHARE", 1.0)
    after = damage.spoil(scenes, scenes[::-1], DAMAGES, rng)
    changed = ((after - before).abs().amax(1) > 0.02) & around
    assert not changed.any() and ((after - before).abs().amax((1, 2, 3)) > 0.1).all()


def test_wrong_layouts_are_not_what_their_pose_is():
    rng = random.Random(5)
    for name, make in WRONG_LAYOUTS.items():
        made = [make(rng, training_character) for _ in range(12)]
        assert all(wrong.pose is None or wrong.pose in ANSWERS for wrong in made), name
        assert {wrong.broken for wrong in made} == {name == "parts missing"}
        assert any(wrong.pose == "none" for wrong in made)


def test_a_missing_part_shows():
    """The same seed with and without the change: a difference of a paw at least."""
    rng, drawn = random.Random(7), []

    def noting(*arguments, **options):
        drawn.append(render(*arguments, **options))
        return drawn[-1]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("training.miniature.judges.wrong_layouts.render", noting)
        wrong = [WRONG_LAYOUTS["parts missing"](rng, training_character) for _ in range(6)]
    for made in wrong:
        at = next(i for i, scene in enumerate(drawn) if scene.image is made.image)
        assert (drawn[at - 1].image != made.image).any(-1).mean() > LEAST_CHANGE


def test_a_layout_of_its_own_leaves_all_else():
    who = [training_character(random.Random(1))]
    usual = render(who, "waving", "studio", random.Random(2))
    same = render(who, "standing", "studio", random.Random(2), layout_of=POSES["waving"])
    assert np.array_equal(usual.image, same.image) and np.array_equal(usual.keypoints, same.keypoints)


def test_what_cannot_be_said_is_ignored():
    image = np.zeros((4, 4, 3), np.uint8)
    numbers = answer_numbers([Wrong(image, None, True), Wrong(image, "none", False), Wrong(image, "waving", False)])
    assert numbers.tolist() == [IGNORED, len(known_poses()), known_poses().index("waving")]


def test_softened_pictures_keep_what_they_show():
    rng = random.Random(0)
    torch.manual_seed(0)
    images = pixels_of(draw_scenes(8, rng, training_character))
    soft = soften(images, rng)
    assert soft.shape == images.shape and soft.abs().max() <= 1
    small = [torch.nn.functional.avg_pool2d(part, 16) for part in (images, soft)]
    assert (small[0] - small[1]).abs().mean() < 0.12 < (small[0] - small[0].flip(0)).abs().mean()


def test_boxes_and_their_overlap():
    boxes = np.array([[0.5, 0.2, 0.9, 0.8], [0.1, 0.2, 0.5, 0.8]])
    assert west_to_east(boxes)[:, 0].tolist() == pytest.approx([0.1, 0.5])
    assert west_to_east(boxes[:1]).tolist() == [pytest.approx(boxes[0].tolist())] * 2
    found = overlap(torch.tensor([0.0, 0.0, 0.5, 1.0]), torch.tensor([0.25, 0.0, 0.75, 1.0]))
    assert found.item() == pytest.approx(1 / 3)
    point = torch.tensor([[[0.0, 0.0], [3.0, 4.0]]])
    assert keypoint_distance(point, torch.zeros(1, 2, 2), torch.tensor([[True, True]])).item() == pytest.approx(2.5)
    assert keypoint_distance(point, torch.zeros(1, 2, 2), torch.tensor([[True, False]])).item() == 0


def test_every_pose_is_drawn():
    scenes = draw_scenes(400, random.Random(0), training_character)
    assert {scene.pose for scene in scenes} == set(known_poses())
    assert all(len(scene.characters) == (2 if scene.pose in RELATIONS else 1) for scene in scenes)


def test_photos_are_among_the_scenes_as_image_prompts_show_them(monkeypatch):
    """The second edition's photos show a figure at three quarters of its height in a scene."""

    def height(scale):
        monkeypatch.setattr(scenes, "PROPORTIONS", replace(EDITIONS[2], portrait=scale))
        photos = [scenes.draw_photo(named_character("cat", "red"), random.Random(seed)) for seed in range(20)]
        return np.mean([np.ptp(photo.keypoints[0, :, 1]) for photo in photos])

    assert height(0.75) == pytest.approx(0.75 * height(1.0), rel=0.02)
    monkeypatch.setattr(scenes, "draw_photo", lambda character, rng: None)
    drawn = scenes.draw_scenes(200, random.Random(0), training_character)
    assert 10 <= drawn.count(None) <= 30 and len(drawn) == 200
