"""Fine attributes: equal ink, nothing changed without them, and views of characters that say what they show."""

import math
import random
from dataclasses import replace

import numpy as np
import pytest
import torch

pytest.importorskip("skia", reason="skia-python, which draws the miniature's world, is not installed")

from PIL import Image

from training.miniature.stages import character_views as views
from training.miniature.stages import latents
from training.miniature.stages.autoencoder import DETAIL_CROP, _corner_around, build_autoencoder
from training.miniature.stages.latents import as_tuple, covered, denoising_loss, draw_scene, from_tuple
from training.miniature.world.canvas import Canvas, rectangle, shape_path
from training.miniature.world.identities import GLYPHS, PUPILS, named_character, random_character, with_random_details
from training.miniature.world.poses import ACTIONS
from training.miniature.world.proportions import EDITIONS, SDXL, chosen_edition
from training.miniature.world.rendering import BACKGROUNDS, IMAGE_SIZE, render
from training.miniature.world.splits import held_out_characters, portrait_poses, poses_of_kinds, training_character

PLAIN = named_character("bear", "yellow", "striped", "scarf")


def ink(kind):
    canvas = Canvas(400, with_parts=False)
    canvas.fill(rectangle(0, 0, 400, 400), (255, 255, 255))
    canvas.fill(shape_path(kind, 200, 200, 200), (0, 0, 0))
    return 1 - canvas.picture()[:, :, 0] / 255


@pytest.mark.parametrize("kind", dict.fromkeys([*GLYPHS, *PUPILS]))
def test_shapes_differ_in_form_alone(kind):
    drawn = ink(kind)
    assert drawn.sum() == pytest.approx(math.pi * 100**2, rel=0.01), "all have the area of the disc"
    for axis in (0, 1):
        centroid = (drawn.sum(1 - axis) * (np.arange(400) + 0.5)).sum() / drawn.sum()
        assert centroid == pytest.approx(200, abs=0.5)


def test_shapes_are_told_apart():
    drawn = {kind: ink(kind) for kind in dict.fromkeys([*GLYPHS, *PUPILS])}
    for first in drawn:
        for second in drawn.keys() - {first}:
            assert np.abs(drawn[first] - drawn[second]).sum() > 0.2 * drawn[first].sum(), (first, second)


@pytest.mark.parametrize("attribute, kinds", (("glyph", GLYPHS), ("pupils", PUPILS)))
def test_a_detail_changes_its_own_place_alone(attribute, kinds):
    character = replace(PLAIN, glyph="disc", pupils="disc")
    first, second = (
        render([replace(character, **{attribute: kind})], "standing", "studio", random.Random(2)) for kind in kinds[-2:]
    )
    assert first.details == second.details
    rows, columns = np.nonzero((first.image != second.image).any(-1))
    near = [
        np.hypot(columns + 0.5 - IMAGE_SIZE * x, rows + 0.5 - IMAGE_SIZE * y) for x, y in first.details[0][attribute]
    ]
    assert len(rows) > 10 and np.min(near, axis=0).max() < {"glyph": 12, "pupils": 10}[attribute]


def test_characters_without_details_are_what_they_were():
    for seed in range(20):
        rngs = random.Random(seed), random.Random(seed)
        coarse, fine = (random_character(rng, 0.3, fine=fine) for rng, fine in zip(rngs, (False, True)))
        assert coarse.glyph is coarse.pupils is None and replace(fine, glyph=None, pupils=None) == coarse
        assert fine.key == coarse.key
    assert not any(training_character(random.Random(seed), fine=False).glyph for seed in range(5))
    scene = render([PLAIN], "standing", "studio", random.Random(2))
    assert scene.details == [{}]


def test_who_is_held_out_is_held_out_with_every_detail():
    coarse, fine = held_out_characters(fine=False), held_out_characters(fine=True)
    assert [character.key for character in coarse] == [character.key for character in fine]
    assert {character.glyph for character in fine} == set(GLYPHS) and {c.pupils for c in fine} == set(PUPILS)
    assert fine == held_out_characters(fine=True)


def test_stored_scenes_keep_details_and_older_ones_load():
    character = with_random_details(PLAIN, random.Random(0))
    assert from_tuple(as_tuple(character)) == character
    assert from_tuple(as_tuple(PLAIN)[:5]) == PLAIN


def test_editions():
    assert chosen_edition("2") == 2 and chosen_edition(None) in EDITIONS
    with pytest.raises(ValueError, match="must be one of 1, 2, got '3'"):
        chosen_edition("3")
    assert EDITIONS[2].local_scale == SDXL.local_scale == 4
    for sizes in EDITIONS.values():
        assert sizes.clip_input % sizes.clip_patch == sizes.local_input % sizes.clip_input == 0


def test_views_of_characters_without_details_are_what_they_were(monkeypatch):
    monkeypatch.setattr(views, "HAS_FINE_ATTRIBUTES", False)

    def slow(character, rng, size):
        pose = rng.choice(poses_of_kinds("ab", ACTIONS))
        image = render([character], pose, rng.choice(tuple(BACKGROUNDS)), rng, annotate=False).image
        if rng.random() < 0.5:
            return image
        side = rng.randrange(72, size)
        left, top = (size - side) // 2 + rng.randrange(-8, 9), rng.randrange(0, size - side + 1)
        left = min(max(0, left), size - side)
        cropped = Image.fromarray(image[top : top + side, left : left + side])
        return np.asarray(cropped.resize((size, size), Image.Resampling.BICUBIC))

    for seed in range(6):
        (view,) = views.character_views(PLAIN, random.Random(seed), IMAGE_SIZE, portrait=1.0)
        assert np.array_equal(view.image, slow(PLAIN, random.Random(seed), IMAGE_SIZE))
        assert view.seen == {"species", "color", "marking", "accessory"}


def test_views_say_what_they_show():
    """A view that claims to show the glyph changes with it; few others do."""
    differing = {True: [], False: []}
    for seed in range(20):
        character = with_random_details(PLAIN, random.Random(seed))
        first, second = (
            views.character_views(replace(character, glyph=glyph), random.Random(seed), 48) for glyph in ("cross", "up")
        )
        assert [view.seen for view in first] == [view.seen for view in second]
        assert "species" in first[0].seen and not any("species" in view.seen for view in first[1:])
        for one, other in zip(first, second):
            differing["glyph" in one.seen].append((one.image != other.image).any())
    assert all(differing[True]) and len(differing[True]) > 20 and np.mean(differing[False]) < 0.5


def test_crops_around_a_detail_lie_on_the_grid_of_latents_and_hold_it():
    rng = random.Random(0)
    for _ in range(200):
        place = rng.random(), rng.random()
        top, left = _corner_around(place, DETAIL_CROP, rng)
        assert top % 8 == left % 8 == 0 and 0 <= min(top, left) and max(top, left) <= IMAGE_SIZE - DETAIL_CROP
        assert left <= place[0] * IMAGE_SIZE <= left + DETAIL_CROP and top <= place[1] * IMAGE_SIZE <= top + DETAIL_CROP


def test_cells_in_which_details_are_drawn_count_more():
    first, second = (
        render([replace(PLAIN, glyph=glyph, pupils=pupils)], "standing", "studio", random.Random(2))
        for glyph, pupils in (("disc", "cross"), ("cross", "left"))
    )
    rows, columns = np.nonzero((first.image != second.image).any(-1))
    near = covered([place for places in first.details[0].values() for place in places])
    assert (near[rows // 8, columns // 8] > 0).all() and near.mean() < 0.1 and near.max() <= 1
    reach = 0.075 * 16  # of a cell, on each side of the corner of four
    middle = covered([(0.5, 0.5)])
    assert (middle[7:9, 7:9] == 1).all() and middle.sum() == pytest.approx(4 * reach**2)
    assert middle[6, 6] == pytest.approx((reach - 1) ** 2, abs=1e-5)
    assert covered([(0.25, 0.5)]).argmax() % 16 in (3, 4), "x comes first, as in the details of a scene"
    assert covered([]).sum() == 0


@pytest.mark.parametrize("has_fine", (True, False))
def test_what_is_kept_of_scenes_is_their_own(tmp_path, monkeypatch, has_fine):
    monkeypatch.setattr(latents, "training_character", lambda rng, share: training_character(rng, share, fine=True))
    monkeypatch.setattr(latents, "HAS_FINE_ATTRIBUTES", has_fine)
    scenes, file = [draw_scene(index, 11, "a", 0.15) for index in range(8)], tmp_path / "latents.pt"
    vae = build_autoencoder().eval()
    data = latents.scene_latents(file, vae, 8, "a", 11)
    again = latents.scene_latents(file, vae, 8, "a", 11)
    assert data["scenes"] == again["scenes"] == [latents.content_of(scene) for scene in scenes]
    assert data["latents"].equal(latents.encode_images(vae, [scene.image for scene in scenes]))
    assert data["boxes"] == [scene.boxes.tolist() for scene in scenes]
    monkeypatch.setattr(latents, "HAS_FINE_ATTRIBUTES", not has_fine)
    with pytest.raises(ValueError, match="latents.pt` does not hold this version's and edition's scenes. Remove it"):
        latents.scene_latents(file, vae, 8, "a", 11)
    if not has_fine:
        assert data["details"] is None
        return
    shares = data["details"]
    assert shares.shape == (8, 2, 2, 16, 16) and again["details"].equal(shares)
    for row, scene in zip(shares, scenes):
        for number, details in enumerate(scene.details):
            for share, name in zip(row[number], ("glyph", "pupils")):
                assert share.equal(torch.from_numpy(covered(details[name])).half())
    single = next(index for index, scene in enumerate(scenes) if len(scene.details) == 1)
    assert shares[single, 0].any() and not shares[single, 1].any()
    assert latents.detail_weights(shares).equal(1 + 3 * shares.float().amax((1, 2)))


def test_scenes_of_another_run_are_refused(tmp_path):
    file, vae = tmp_path / "latents.pt", build_autoencoder().eval()
    latents.scene_latents(file, vae, 2, "a", 11)
    with pytest.raises(ValueError, match="must hold 3 scenes, got 2. Ask for as many by `--scenes 2`, or remove it"):
        latents.scene_latents(file, vae, 3, "a", 11)
    with pytest.raises(ValueError, match="was encoded by another autoencoder than is here. Remove it"):
        latents.scene_latents(file, build_autoencoder().eval(), 2, "a", 11)
    kept = torch.load(file, weights_only=True)
    torch.save(kept | {"scenes": kept["scenes"][::-1]}, file)
    with pytest.raises(ValueError, match="holds other scenes than are asked for"):
        latents.scene_latents(file, vae, 2, "a", 11)


def test_the_denoising_loss_weighs_cells():
    output, velocity = torch.randn(2, 3, 4, 4), torch.randn(2, 3, 4, 4)
    plain = torch.nn.functional.mse_loss(output, velocity)
    for weights in (None, torch.full((2, 4, 4), 3.0)):
        assert denoising_loss(output, velocity, weights) == pytest.approx(plain)
    weights = torch.zeros(2, 4, 4)
    weights[1, 2, 3], weights[0, 0, 0] = 2.0, 1.0
    error = (output - velocity).square().mean(1)
    assert denoising_loss(output, velocity, weights) == pytest.approx((2 * error[1, 2, 3] + error[0, 0, 0]) / 3)


@pytest.mark.parametrize("pose", portrait_poses())
def test_a_portrait_s_figure_is_smaller_and_stands_where_it_would(pose):
    usual, smaller = (render([PLAIN], pose, "studio", random.Random(5), figure_scale=scale) for scale in (1.0, 0.75))
    heights = [box[3] - box[1] for box in (usual.boxes[0], smaller.boxes[0])]
    assert heights[1] == pytest.approx(0.75 * heights[0], abs=0.02)
    assert smaller.boxes[0][3] == pytest.approx(usual.boxes[0][3], abs=0.03)
    assert smaller.boxes[0][::2] == pytest.approx(usual.boxes[0][::2], abs=0.1)


def test_zooms_of_a_portrait_are_those_of_the_whole_made_smaller():
    wide, near = ([views._zoom_box(random.Random(seed), scale) for seed in range(300)] for scale in (1.0, 0.75))
    assert min(side for side, _, _ in wide) == 72 and min(side for side, _, _ in near) == 54
    assert min(top for _, _, top in wide) == 0 and max(top for _, _, top in wide) > 40
    for side, left, top in near:
        assert top >= min(32, IMAGE_SIZE - side) and top + side <= IMAGE_SIZE and 0 <= left <= IMAGE_SIZE - side
