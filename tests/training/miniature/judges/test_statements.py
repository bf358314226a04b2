"""Which text holds of which scene, and the grids that the annotator learns: slow references and laws."""

import math
import random

import numpy as np
import pytest
import torch

pytest.importorskip("skia", reason="skia-python, which draws the miniature's world, is not installed")

from training.miniature.judges.annotator import Grids, draw_pool, words_of_the_world
from training.miniature.judges.characters import Crops
from training.miniature.judges.scenes import draw_scenes, keypoint_distance, pixels_of
from training.miniature.judges.statements import (
    Facts,
    Statement,
    caption_statement,
    hard_group,
    phrase_statement,
    predicate_statement,
    truth,
)
from training.miniature.judges.towers import draw_batch, statements_about, view_loss
from training.miniature.world.captions import PREDICATES, world_words
from training.miniature.world.identities import named_character
from training.miniature.world.poses import RELATIONS
from training.miniature.world.splits import known_poses, training_character

CAT, BEAR = named_character("cat", "red", accessory="hat"), named_character("bear", "blue", "spotted")


def test_what_holds_of_a_pair():
    hugging = Facts((CAT, BEAR), "hugging", "night")
    exchanged = Facts(
        (named_character("cat", "blue", accessory="hat"), named_character("bear", "red", "spotted")), "hugging", "night"
    )
    said = caption_statement(hugging, random.Random(0))
    assert said.holds(hugging) and not said.holds(Facts((CAT, BEAR), "kissing", "night"))
    full = Statement(
        "", ((("species", "cat"), ("color", "red")), (("species", "bear"), ("color", "blue"))), ("hugging",)
    )
    assert full.holds(hugging) and not full.holds(exchanged) and not full.holds(Facts((CAT,), "hugging", "night"))
    assert full.holds(Facts((BEAR, CAT), "hugging", "night"))
    carrying = Statement("", full.wanted, ("carrying",))
    assert carrying.holds(Facts((CAT, BEAR), "carrying", None)) and not carrying.holds(
        Facts((BEAR, CAT), "carrying", None)
    )
    assert not predicate_statement("hugging", random.Random(0)).holds(Facts((CAT, BEAR), None, None))
    assert phrase_statement(CAT, random.Random(1)).holds(exchanged) == all(
        value != "red" for _, value in phrase_statement(CAT, random.Random(1)).wanted[0]
    )


@pytest.mark.parametrize("text, poses", [
    ("is dancing", {"dancing", "dancing_alone"}),
    ("is hugging", {"hugging"}),
    ("back to back", {"back_to_back", "sitting_back_to_back"}),
])  # fmt: skip
def test_a_form_of_a_predicate_means_every_pose_whose_words_hold_it(text, poses):
    said = (predicate_statement(pose, random.Random(seed)) for pose in poses for seed in range(60))
    found = [statement.poses for statement in said if statement.text == text]
    assert found and all(set(each) == poses for each in found)


def test_every_form_of_a_predicate_means_its_pose():
    words = set(world_words())
    for pose in known_poses():
        for seed in range(12):
            said = predicate_statement(pose, random.Random(seed))
            assert pose in said.poses and set(said.text.split()) <= words
            assert len(said.poses) == sum(
                f" {said.text} " in f" {full} " for full in (PREDICATES[p] for p in known_poses())
            )


def test_every_text_is_of_the_world_and_holds_of_its_picture():
    rng, words = random.Random(0), set(world_words())
    for _ in range(20):
        facts = hard_group(rng, lambda rng: training_character(rng, 0.1))
        said = statements_about(facts, rng)
        table = truth(said, facts)
        assert all(set(statement.text.split()) <= words for statement in said)
        assert (table.sum(1) >= 1).all() and table.shape == (len(said), 4)
        pair = facts[0].pose in RELATIONS
        assert len(facts[0].characters) == (2 if pair else 1) and facts[1].pose != facts[0].pose


def test_photos_pick_the_pictures_that_their_character_is_in():
    pictures, facts, photos = draw_batch(2, random.Random(3), training_character)
    assert len(pictures) == len(facts) and all(len(facts[i].characters) == 1 for i in photos)
    same = torch.nn.functional.normalize(torch.ones(len(facts), 4), dim=-1)
    assert view_loss(same, facts, photos).item() == pytest.approx(np.log(len(facts) - 1), abs=1e-4)
    torch.manual_seed(0)
    views = torch.nn.functional.normalize(torch.randn(len(facts), 4), dim=-1)
    losses = []
    for i in photos:
        weights = {j: math.exp(10 * float(views[i] @ views[j])) for j in range(len(facts)) if j != i}
        right = [j for j in weights if facts[i].characters[0] in facts[j].characters]
        losses.append(-sum(math.log(weights[j] / sum(weights.values())) for j in right) / len(right))
    assert view_loss(views, facts, photos).item() == pytest.approx(sum(losses) / len(losses), rel=1e-4)


def test_grids_say_what_masks_and_boxes_say():
    """Against plain loops over the cells."""
    scenes = draw_scenes(4, random.Random(2), training_character)
    grids = Grids(scenes)
    for number, scene in enumerate(scenes):
        for row in range(0, 32, 5):
            for column in range(0, 32, 5):
                part = scene.masks[:, 4 * row : 4 * row + 4, 4 * column : 4 * column + 4].mean((1, 2))
                owner = int(part.argmax())
                assert grids.owned[number, row, column] == (part[owner] > 0.5)
                assert grids.coverage[number, row, column] == pytest.approx(min(1.0, part.sum()))
                if part[owner] <= 0.5:
                    assert grids.attributes["species"][number, row, column] == -100
                    continue
                middle = np.array([(column + 0.5) / 32, (row + 0.5) / 32])
                centre = (scene.boxes[owner, :2] + scene.boxes[owner, 2:]) / 2
                assert np.allclose(grids.centre[number, :, row, column], centre - middle, atol=1e-6)
                nose = scene.keypoints[owner, 2]
                assert np.allclose(grids.keypoints[number, 2, :, row, column], nose[:2] - middle, atol=1e-6)
                assert grids.visible[number, 2, row, column] == nose[2]


def test_the_annotator_learns_of_places_with_nobody_there():
    pool = draw_pool(50, random.Random(3), training_character)
    assert len(pool) == 50 and [scene.masks.any() for scene in pool].count(False) == 2
    grids, empty = Grids(pool[-3:]), slice(1, 3)
    assert grids.coverage[0].max() == 1 and grids.coverage[empty].max() == 0 and not grids.owned[empty].any()
    assert all((numbers[empty] == -100).all() for numbers in grids.attributes.values())
    images = np.stack([scene.image for scene in pool[-2:]])
    assert (images[:, :1].std((1, 2)) == 0).all()  # a sky, or one colour


def test_every_word_of_a_noun_is_known_to_the_annotator():
    known = words_of_the_world()
    assert known["red"] == ["color", "red"] and known["hat"] == ["accessory", "hat"] and known["wearing"] is None
    for seed in range(30):
        said = phrase_statement(training_character(random.Random(seed)), random.Random(seed))
        assert set(said.text.split()) <= set(known)
        claims = [tuple(known[word]) for word in said.text.split() if known[word]]
        assert sorted(claims) == sorted(said.wanted[0])


def test_keypoints_lie_in_their_crops():
    scenes = draw_scenes(6, random.Random(0), training_character)
    asked = Crops(scenes, pixels_of(scenes))
    visible = asked.keypoints[asked.visible]
    assert len(asked.pixels) == sum(len(scene.characters) for scene in scenes)
    assert visible.min() > -0.05 and visible.max() < 1.05
    assert keypoint_distance(asked.keypoints, asked.keypoints, asked.visible).max() == 0
