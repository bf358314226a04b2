"""Poses of the world's editions: the first stays what it was, and every pose shows who does what."""

import base64
import hashlib
import json
import random

import numpy as np
import pytest

skia = pytest.importorskip("skia", reason="skia-python, which draws the miniature's world, is not installed")

from relationbooth_pipeline import miniature  # noqa: E402
from relationbooth_pipeline.evaluation.benches.relationbench import MULTI_PROMPTS, SINGLE_PROMPTS  # noqa: E402
from relationbooth_pipeline.triplets import read_triplets  # noqa: E402
from training.miniature.world import rendering, splits  # noqa: E402
from training.miniature.world.canvas import Canvas  # noqa: E402
from training.miniature.world.captions import PREDICATES, make_caption, world_words  # noqa: E402
from training.miniature.world.characters import Figure  # noqa: E402
from training.miniature.world.identities import named_character  # noqa: E402
from training.miniature.world.poses import ACTIONS, EDITIONS, POSES, RELATIONS  # noqa: E402
from training.miniature.world.poses.layouts import Prop  # noqa: E402
from training.miniature.world.poses.skeletons import PARTS, make_skeleton  # noqa: E402
from training.miniature.world.proportions import DEFAULT_EDITION  # noqa: E402
from training.miniature.world.rendering import SMALL, random_heights, render  # noqa: E402
from training.miniature.world.splits import KINDS, known_poses, portrait_poses, poses_of_kinds  # noqa: E402
from training.miniature.world.tokenizer import END, MAX_LENGTH, START, vocabulary_and_merges  # noqa: E402
from training.miniature.world.triplets import write_triplets  # noqa: E402

PAIR = (named_character("rabbit", "blue", "striped", "scarf"), named_character("bear", "yellow", "spotted", "hat"))
MORE = EDITIONS[2][len(EDITIONS[1]) :]
# pose of the first edition → (digest of masks, boxes and keypoints; 8 x 8 grey cells of the picture) of three scenes
AS_SHIPPED = {
    "high_fiving": ("f43eb48126cd0585",
        "19fX19LSztfXuL3VzbfC18iHhMekUXHOx4N3mISKjMjKkJmNhZmX0sWEgbaokJDIlHmFmZKYhpWbioOXlI6Umw=="),
    "back_to_back": ("8ce3ae3af5f18cd1",
        "19fX09HN19fX1rW1vbzX19e9gYNcXL/X1657fY6IrtfXu5qMjZvG18mte4SMiajJm410hIOJlpubloKNkY6Xmw=="),
    "kissing": ("d339e8684442886c",
        "19fX183Q1NfXyru0t7rQ19WlgXxaU7DX16V5d4KNp9fVppOhnZWs1rh+c5qViIm5l3qAiI+Hh5abkYGUk42Vmw=="),
    "holding_hands": ("039fd131dd0125c7",
        "19fX187S0dfXvr3OyLXJ19CXgLWHVIfTz413oYWNjNXUk52rmJuf16l+gIyMkpa3jIGJhYGXgpSbkIGPkY2Vmw=="),
    "hugging": ("cacc2eaaaf556953",
        "19fX1c/N19fX1ba4vbjX19e+gYZcXcLX17h6eoaKtNfXuJKQkZnF18nEdXiFj8jJm5yEh3OHm5ubmYKIjo+Zmw=="),
    "shaking_hands": ("2380ce0a2ff898c0",
        "19fX19HSztfXub3TzLXE18uMg8KbUnjPyoV3sIyJj87Pk5uzqJeZ1ceIgZ2ck5XJl3eEh4+NhpebjYOVk4+Umw=="),
    "dancing": ("bdd854fb2ac58450",
        "19fX19fNztbQuMHX17q51LGBltTHYlW2p3h807qEiZqVk5umppSQmaiAfYKRkpK6mYaDlo6Xh5iXjYeUk5KUmA=="),
    "carrying": ("e842fb0ee7cfb543",
        "19fVnpTV19fX19aKg87X19fXwZyZvNfX19fTlZPO19fX17d9drbX18nJpYKBo8nJm5uagIGbm5ubm5uAf5ubmw=="),
    "standing": ("9325c296d4120e79",
        "19fGy8TX19fX17KgvNfX19fXlHWi19fX19J7gI/V19fX046bl9fX18nHb2uIyMnJm5BzeXSUm5ubm4h7jpubmw=="),
    "waving": ("2475d3f128b8d839",
        "19fGy8TX19fX17KgvNfX19fXlHWi19fX19J7gI610NfX046bf5TV18nHb2qJvcnJm5BzeZCbm5ubm4h7jpubmw=="),
    "jumping": ("fe74a38cf970dd15",
        "19fWt7jU19fX19eclMnX19fRv4lwqNHX18aRjpOBsdfX17JvdZXM18nJxJJ7ucnJm5uQg36Empubm5mDfJKbmw=="),
    "playing_guitar": ("cc2a9bcc1d22b0f5",
        "19fGy8TX19fX17KgvNfX19fXlHWi19fX19J7gY/V19fX042altHX18nEeGmBlsjJm5N4bXiam5ubm4V6jpubmw=="),
}  # fmt: skip


def scene_of(pose, seed, **arguments):
    return render(PAIR[: 2 if pose in RELATIONS else 1], pose, "meadow", random.Random(seed), **arguments)


def fingerprint(pose):
    digest, cells = hashlib.sha256(), []
    for seed in range(3):
        scene = scene_of(pose, seed)
        for values in (scene.masks, scene.boxes, scene.keypoints.round(4)):
            digest.update(values.tobytes())
        cells.append(scene.image.mean(-1).reshape(8, 16, 8, 16).mean((1, 3)))
    return digest.hexdigest()[:16], np.mean(cells, 0).round().astype(np.uint8)


@pytest.mark.parametrize("pose", EDITIONS[1])
def test_the_first_edition_is_drawn_as_the_shipped_weights_saw_it(pose):
    digest, cells = fingerprint(pose)
    assert digest == AS_SHIPPED[pose][0]
    expected = np.frombuffer(base64.b64decode(AS_SHIPPED[pose][1]), np.uint8).reshape(8, 8)
    assert np.abs(cells.astype(int) - expected).max() <= 1  # processors may round an edge's shade otherwise


def test_editions_grow_at_their_ends():
    assert EDITIONS[1] == tuple(AS_SHIPPED) and EDITIONS[2][:12] == EDITIONS[1]
    assert sorted(EDITIONS[2]) == sorted(POSES) == sorted(KINDS) == sorted(PREDICATES)
    assert set(portrait_poses(edition=2)) <= set(poses_of_kinds("a", ACTIONS, edition=2))


def test_one_constant_chooses_the_edition(monkeypatch):
    for edition in EDITIONS:
        monkeypatch.setattr(splits, "EDITION", edition)
        assert known_poses() == EDITIONS[edition]
        assert set(known_poses(RELATIONS)) | set(known_poses(ACTIONS)) == set(EDITIONS[edition])
        assert sorted(poses_of_kinds("a") + poses_of_kinds("b") + poses_of_kinds("c")) == sorted(EDITIONS[edition])


def test_kinds_of_the_second_edition():
    a, b, c = (set(poses_of_kinds(kind, edition=2)) for kind in "abc")
    assert len(a) >= 9 and len(b) >= 7 and len(c) >= 4
    assert {"hugging", "shaking_hands", "jumping"} <= b and {"dancing", "playing_guitar"} <= c


def test_the_world_acts_relationbench():
    """Every predicate of the paper's Table 9, in its wording but for two."""
    drawn = {predicate.removeprefix("is ") for predicate in PREDICATES.values()}
    others = {"partner dancing with": "dancing with", "shakes hands with": "shaking hands with"}
    for _, predicate in SINGLE_PROMPTS + MULTI_PROMPTS:
        assert others.get(predicate, predicate) in drawn
    assert len(drawn) == len(PREDICATES)


def test_old_words_keep_their_tokens():
    """A later edition's tokenizer appends to the first one's; the edition by default is the shipped one."""
    shipped = json.loads((miniature.path() / "tokenizer" / "tokenizer.json").read_text(encoding="utf-8"))
    first, second = (vocabulary_and_merges(world_words(edition)) for edition in (1, 2))
    ships = vocabulary_and_merges(world_words(DEFAULT_EDITION))
    assert shipped["model"]["vocab"] == ships[0]
    assert [tuple(merge) for merge in shipped["model"]["merges"]] == ships[1]
    assert first[1] == second[1][: len(first[1])]
    special = (START, END)
    assert all(second[0][token] == number for token, number in first[0].items() if token not in special)
    assert {"skiing", "fencing", "piano"} <= set(world_words(2)) - set(world_words(1))


def drawn_alone(pose, seed, only=None, characters=PAIR, size=128):
    """(owners, parts) of a scene with a margin of half its side around it; `only` leaves out all but one figure."""
    rng = random.Random(seed)
    layout = POSES[pose](size, rng, random_heights(pose, size, rng))
    canvas = Canvas(2 * size)
    with canvas.transformed(skia.Matrix().setTranslate(size / 2, size / 2)):
        figures = [Figure(canvas, i + 1, characters[i], skeleton) for i, skeleton in enumerate(layout.skeletons)]
        for step in layout.order:
            if isinstance(step, Prop):
                if only is None:
                    with canvas.owned_by(0, PARTS["prop"]):
                        rendering.draw_prop(canvas, step)
            elif only in (None, step[0]):
                figures[step[0]].draw(step[1])
    return canvas.owners_and_parts()


@pytest.mark.parametrize("pose", MORE)
def test_everyone_can_be_recognised(pose):
    """Of every figure at least 65 % is seen, of its head too, and 90 % lies inside the picture."""
    inside = np.zeros((256, 256), bool)
    inside[64:-64, 64:-64] = True
    for seed in range(3):
        owners, parts = drawn_alone(pose, seed)
        for figure in range(2 if pose in RELATIONS else 1):
            alone, alone_parts = drawn_alone(pose, seed, figure)
            whole, head = alone == figure + 1, alone_parts == PARTS["head"]
            seen = (owners == figure + 1) & inside
            assert seen.sum() >= 0.65 * whole.sum() and (whole & inside).sum() >= 0.9 * whole.sum()
            assert (seen & (parts == PARTS["head"])).sum() >= 0.65 * head.sum()


@pytest.mark.parametrize("pose", [pose for pose in POSES if pose != "hugging"])
def test_what_a_thing_hides_is_not_visible(pose, monkeypatch):
    scenes = [scene_of(pose, seed) for seed in range(3)]
    monkeypatch.setattr(rendering, "draw_prop", lambda canvas, prop: None)
    hidden = 0
    for seed, scene in enumerate(scenes):
        bare = scene_of(pose, seed)
        assert not (scene.masks & ~bare.masks).any()
        assert np.allclose(scene.keypoints[..., :2], bare.keypoints[..., :2])
        assert (scene.keypoints[..., 2] <= bare.keypoints[..., 2]).all()
        hidden += (bare.keypoints[..., 2] - scene.keypoints[..., 2]).sum()
        changed = (scene.image != bare.image).any(-1)
        inner = scene.masks.any(0)
        for axis in (0, 1):  # the antialiased rim of a thing may tint the pixels beside it
            inner = inner & np.roll(inner, 1, axis) & np.roll(inner, -1, axis)
        assert (changed & inner).sum() <= 0.02 * inner.sum()
    if pose in ("playing_piano", "eating_dinner", "playing_chess", "sleeping"):
        assert hidden >= 3


def test_a_turned_figure_s_keypoints_turn_with_it():
    skeleton = make_skeleton(random.Random(0), (60.0, 90.0), 70.0, 0.2)
    assert skeleton.seen((3.0, 4.0)) == (3.0, 4.0)
    skeleton.turn = 77.0
    expected = skia.Matrix().setRotate(77.0, 60.0, 90.0).mapXY(31.0, 42.0)
    assert np.allclose(skeleton.seen((31.0, 42.0)), (expected.fX, expected.fY), atol=1e-4)
    for seed in range(6):  # a sleeper's head lies beside its feet, and both eyes are seen in it
        eyes, feet = (scene_of("sleeping", seed).keypoints[0, rows] for rows in ((0, 1), (13, 16)))
        assert np.abs(eyes[:, 0].mean() - feet[:, 0].mean()) > 0.3 > np.abs(eyes[:, 1].mean() - feet[:, 1].mean())


@pytest.mark.parametrize("pose", ("hugging", "skiing", "riding_bike", "playing_chess"))
def test_a_small_scene_is_the_usual_one_made_smaller(pose):
    shares = []
    for seed in range(12):
        usual, small = scene_of(pose, seed), scene_of(pose, seed, small=True)
        before, after = usual.keypoints[..., :2].reshape(-1, 2), small.keypoints[..., :2].reshape(-1, 2)
        inside = ((before > 0) & (before < 1)).all(1)
        before, after = before[inside], after[inside]
        share = np.ptp(after, 0) / np.ptp(before, 0)
        assert np.allclose(share[0], share[1], atol=1e-3) and SMALL[0] - 1e-3 <= share[0] <= SMALL[1] + 1e-3
        assert np.allclose(after - after.mean(0), share * (before - before.mean(0)), atol=1e-3)
        assert abs(small.masks.sum() / usual.masks.sum() / share.prod() - 1) < 0.15
        assert 0.7 < small.boxes[:, 3].max() <= 1 and small.boxes[:, 0].min() >= 0
        shares.append(share[0])
    assert np.ptp(shares) > 0.1


def test_triplets_of_every_new_pose_are_read_by_the_package(tmp_path):
    for pose in MORE:
        write_triplets(tmp_path / pose, pose, 1, seed=3)
        (triplet,) = read_triplets(tmp_path / pose)
        assert len(triplet.image_prompts) == (2 if pose in RELATIONS else 1)
        assert triplet.predicate == PREDICATES[pose]


def test_the_longest_caption_fits_the_tokenizer():
    pair = [named_character("elephant", "purple", "spotted", "hat", "ring", "up")] * 2
    words = max(len(make_caption(pair, pose, "meadow", "fine").text.split()) for pose in RELATIONS)
    assert words + 2 <= MAX_LENGTH
