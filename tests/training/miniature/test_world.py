"""The world is deterministic, and its annotations describe what is seen."""

import random

import numpy as np
import pytest
import torch

pytest.importorskip("skia", reason="skia-python, which draws the miniature's world, is not installed")

from relationbooth_pipeline.triplets import read_triplets
from relationbooth_pipeline.triplets.photos import read_pictures
from training.miniature.stages.attributes import IGNORED, attribute_loss
from training.miniature.stages.image_prompts import image_prompt
from training.miniature.world.captions import PREDICATES, make_caption, noun, world_words
from training.miniature.world.identities import COLORS, SPECIES, all_named_characters, named_character
from training.miniature.world.poses import POSES, RELATIONS
from training.miniature.world.rendering import BACKGROUNDS, render
from training.miniature.world.splits import KINDS, held_out_characters, is_held_out, training_character
from training.miniature.world.tokenizer import tokenize, write_tokenizer
from training.miniature.world.triplets import draw_triplet, main, write_triplets


def scene_of(pose, seed, **arguments):
    rng = random.Random(seed)
    characters = [training_character(rng, 0.5) for _ in range(2 if pose in RELATIONS else 1)]
    return render(characters, pose, rng.choice(tuple(BACKGROUNDS)), rng, **arguments)


@pytest.mark.parametrize("pose", POSES)
def test_a_seed_gives_one_scene(pose):
    first, second = scene_of(pose, 3), scene_of(pose, 3)
    assert np.array_equal(first.image, second.image) and np.array_equal(first.keypoints, second.keypoints)
    assert not np.array_equal(first.image, scene_of(pose, 4).image)
    assert np.array_equal(first.image, scene_of(pose, 3, annotate=False).image)


@pytest.mark.parametrize("pose", POSES)
def test_annotations_agree(pose):
    for seed in range(8):
        scene = scene_of(pose, seed)
        size = scene.image.shape[0]
        assert not (scene.masks.sum(0) > 1).any(), "a pixel shows at most one character"
        for mask, box, keypoints in zip(scene.masks, scene.boxes, scene.keypoints):
            rows, columns = np.nonzero(mask)
            expected = np.array([columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]) / size
            assert np.allclose(box, expected)
            assert keypoints[:, :2].min() >= 0 and keypoints[:, :2].max() <= 1
            assert keypoints[:, 2].sum() >= 5, "hardly any keypoint is visible"
            for x, y, visible in keypoints:
                if visible:
                    assert mask[min(int(y * size), size - 1), min(int(x * size), size - 1)]


def test_masks_are_the_characters():
    """Recolouring one character changes pixels of its own mask alone, and the antialiased rim around it.

    Where two edges of others meet, a sixth of what lies below may shine through: 24 of the 140 levels between the two.
    """
    cat, dog_like = named_character("cat", "red"), named_character("bear", "blue")
    for pose in RELATIONS:
        first = render([cat, dog_like], pose, "studio", random.Random(5))
        second = render([named_character("cat", "green"), dog_like], pose, "studio", random.Random(5))
        changed = np.abs(first.image.astype(int) - second.image).max(-1) > 24
        rim = np.zeros_like(changed)
        for dx in range(-2, 3):
            for dy in range(-2, 3):
                rim |= np.roll(first.masks[0], (dy, dx), (0, 1))
        assert not (changed & ~rim).any(), pose
        assert changed[first.masks[0]].mean() > 0.3


def test_the_first_named_can_stand_on_either_side():
    pair = [named_character("cat", "red"), named_character("duck", "blue")]
    left, right = (render(pair, "hugging", "night", random.Random(1), swapped=swapped) for swapped in (False, True))
    assert left.boxes[0, 0] < left.boxes[1, 0] and right.boxes[0, 0] > right.boxes[1, 0]
    sides = [render(pair, "kissing", "night", random.Random(seed)).boxes for seed in range(100)]
    assert 0.65 < np.mean([boxes[0, 0] < boxes[1, 0] for boxes in sides]) < 0.95


def test_occlusion_hides_keypoints():
    hidden = [17 * 2 - scene_of("hugging", seed).keypoints[:, :, 2].sum() for seed in range(20)]
    assert np.mean(hidden) > 17 * 2 - np.mean(
        [2 * scene_of("standing", seed).keypoints[:, :, 2].sum() for seed in range(20)]
    )


def test_splits_are_disjoint_and_large_enough():
    held_out = {character.key for character in held_out_characters()}
    assert len(all_named_characters()) >= 500 and 0.15 < len(held_out) / len(all_named_characters()) < 0.25
    rng = random.Random(0)
    assert all(not is_held_out(training_character(rng, 0.2)) for _ in range(2000))
    assert {character.species for character in held_out_characters()} == set(SPECIES)
    assert {character.color for character in held_out_characters()} == set(COLORS)
    assert set(KINDS) == set(POSES) == set(PREDICATES) and {KINDS["hugging"], KINDS["shaking_hands"]} == {"b"}


def test_captions_mark_phrases_and_predicate():
    pair = [named_character("elephant", "red", "spotted", "hat"), named_character("cat", "blue")]
    caption = make_caption(pair, "hugging", "night", ["full", "animal"])
    assert caption.text == "a red spotted elephant wearing a hat is hugging an animal at night"
    assert [caption.text[start:end] for start, end in caption.phrase_spans] == list(caption.phrases)
    start, end = caption.predicate_span
    assert caption.text[start:end] == caption.predicate == "is hugging"
    ringed = named_character("elephant", "red", "spotted", "hat", "ring", "up")
    assert noun(ringed, "fine") == "red spotted ringbellied upeyed elephant wearing a hat"
    assert noun(ringed, "full") == noun(pair[0], "fine") == "red spotted elephant wearing a hat"
    assert {"ringbellied", "upeyed"} <= set(world_words(2)) and not {"ringbellied", "upeyed"} & set(world_words(1))
    with pytest.raises(ValueError, match="relates 2 characters"):
        make_caption(pair[:1], "hugging")
    with pytest.raises(ValueError, match="takes 1 character"):
        render(pair, "standing", "night", random.Random(0))


def test_triplets_are_read_by_the_package(tmp_path):
    write_triplets(tmp_path / "one", "hugging", 2, seed=1)
    write_triplets(tmp_path / "two", "hugging", 2, seed=1)
    triplets = read_triplets(tmp_path / "one")
    assert len(triplets) == 2 and len(triplets[0].image_prompts) == 2
    for file in (tmp_path / "one").iterdir():
        assert file.read_bytes() == (tmp_path / "two" / file.name).read_bytes()


def test_image_prompts_of_triplets_show_figures_as_large_as_the_adapter_knows_them():
    """A RelationLoRA learns beside an adapter, whose image prompts show figures at `PROPORTIONS.portrait`."""
    rng, heights = random.Random(0), {}
    for name, draw in (
        ("triplets", lambda: draw_triplet("hugging", rng)[1][0].image),
        ("adapter", lambda: np.asarray(image_prompt(training_character(rng), rng, avoid="hugging"))),
    ):
        pictures = [draw() for _ in range(40)]
        lines = [(abs(np.diff(picture.astype(int), axis=1)).sum((1, 2)) > 120).nonzero()[0] for picture in pictures]
        heights[name] = np.mean([np.ptp(rows) / len(picture) for rows, picture in zip(lines, pictures)])
    assert abs(heights["triplets"] - heights["adapter"]) < 0.05, heights


def test_plain_pictures_are_the_triplets_without_their_annotations_and_without_pairs_of_one_species(tmp_path):
    write_triplets(tmp_path / "exact", "hugging", 10)
    main(["hugging", "--output_dir", str(tmp_path / "plain"), "--count", "6", "--plain"])
    distinct = [t for t in read_triplets(tmp_path / "exact") if len(set(t.phrases)) == 2][:6]
    rows = read_pictures(tmp_path / "plain")
    assert [row.id for row in rows] == [triplet.image.stem for triplet in distinct]
    for row, triplet in zip(rows, distinct):
        assert (row.prompt, row.predicate) == (triplet.prompt, triplet.predicate)
        assert list(row.phrases) == list(triplet.phrases)
        for one, other in zip((row.target, *row.objects), (triplet.image, *triplet.image_prompts)):
            assert one.read_bytes() == other.read_bytes()
    assert len(list((tmp_path / "plain").iterdir())) == 6 * 3 + 1


@pytest.mark.parametrize(
    "odd", ([], ["a Red cat"], ["a cat, dancing"], ["a " * 40], ["zebra"], [""], ["don't"], ["a  cat"], ["a\u00a0cat"])
)
def test_words_that_are_looked_up_are_the_tokenizer_s(tmp_path, odd):
    tokenizer = write_tokenizer(tmp_path)
    texts = [" ".join(world_words()[start : start + 9]) for start in range(0, 40, 9)] + odd
    expected = tokenizer(texts, padding="max_length", max_length=32, truncation=True, return_tensors="pt").input_ids
    assert tokenize(tokenizer, texts).equal(expected)


def test_attributes_of_which_none_counts_are_left_out_of_the_loss():
    torch.manual_seed(0)
    predictions = {"color": torch.randn(3, 5), "species": torch.randn(3, 4)}
    targets = {"color": torch.tensor([1, IGNORED, 3]), "species": torch.full((3,), IGNORED)}
    expected = torch.nn.functional.cross_entropy(predictions["color"][[0, 2]], torch.tensor([1, 3]))
    torch.testing.assert_close(attribute_loss(predictions, targets), expected)
    assert attribute_loss(predictions, {"species": targets["species"]}) == 0
