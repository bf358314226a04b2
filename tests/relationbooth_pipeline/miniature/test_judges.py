"""The shipped judges and towers on photos with known characters."""

import numpy as np
import pytest
import torch
from PIL import Image

from relationbooth_pipeline.miniature.annotator import MiniatureAnnotator
from relationbooth_pipeline.miniature.judges import FOLDER, MiniatureJudges
from relationbooth_pipeline.miniature.networks import read_network
from relationbooth_pipeline.miniature.pictures import crop_boxes, pixels_of
from relationbooth_pipeline.miniature.towers import MiniatureTowers

from .photos import ATTRIBUTES, photos, words

LARGEST = 4_000_000  # bytes of all networks


@pytest.fixture(scope="module")
def judges():
    return MiniatureJudges.load()


@pytest.fixture(scope="module")
def towers():
    return MiniatureTowers.load()


@pytest.fixture(scope="module")
def known():
    return photos()


def test_all_networks_together_are_small():
    assert sum(file.stat().st_size for file in FOLDER.glob("*.safetensors")) <= LARGEST


def test_the_character_in_a_box_is_read_rightly(judges, known):
    annotator = MiniatureAnnotator.load()
    boxes = [annotator.find(photo, words(said))[0][0] for said, photo in known]
    values, points = judges.characters([photo for _, photo in known], boxes)
    for name in ATTRIBUTES:  # of twelve, one with a spot or two in sight may be taken for plain
        assert sum(found != said[name] for found, (said, _) in zip(values[name], known)) <= (name == "marking")
    expected = np.stack([annotator.keypoints(p, b, words(s))[:, :2] for (s, p), b in zip(known, boxes)])
    assert np.abs(points.numpy() - expected).mean() < 0.03  # two networks that share nothing agree


def test_whole_photos_are_whole_and_show_what_photos_may(judges, known):
    seen = judges.look([photo for _, photo in known])
    assert set(seen.poses) <= {"standing", "waving", "lifting_weights", "playing_soccer"}
    assert (seen.broken < 0.5).float().mean() > 0.8  # 96 % of whole renders are called so
    names, probabilities = judges.poses([photo for _, photo in known])
    assert names == seen.poses and torch.equal(probabilities, seen.probabilities)
    torch.testing.assert_close(probabilities.sum(1), torch.ones(len(known)))


def test_spoilt_photos_are_broken(judges, known):
    """Heads cut off, photos laid over one another, blocks exchanged."""
    spoilt = []
    for (_, photo), (_, other) in zip(known, known[1:]):
        pixels, others = np.asarray(photo.resize((128, 128))), np.asarray(other.resize((128, 128)))
        headless = pixels.copy()
        headless[: pixels.shape[0] * 6 // 10] = pixels[0, 0]
        shuffled = pixels.copy()
        shuffled[40:72, 30:62], shuffled[72:104, 62:94] = pixels[72:104, 62:94], pixels[40:72, 30:62]
        spoilt += [headless, (pixels // 2 + others // 2), shuffled]
    broken = judges.look(np.stack(spoilt)).broken > 0.5
    assert broken.float().mean() > 0.9


def test_a_picture_alone_is_read_as_in_a_batch(judges, towers, known):
    pictures = [photo for _, photo in known[:3]]
    together, alone = judges.look(pictures), judges.look(pictures[1:2])
    torch.testing.assert_close(together.probabilities[1], alone.probabilities[0], atol=1e-5, rtol=0)
    texts = ["hugging", "a red cat is hugging an elephant wearing a hat at night"]
    torch.testing.assert_close(towers.text_features(texts)[:1], towers.text_features(texts[:1]), atol=1e-5, rtol=0)
    torch.testing.assert_close(
        towers.image_features(pictures)[:1], towers.image_features(pictures[:1]), atol=1e-5, rtol=0
    )


def test_towers_tell_characters(towers):
    """A photo is nearer to its own words than to another species', and to its own photos than to other characters'."""
    known = photos(2)
    pictures, said = [photo for _, photo in known], [who for who, _ in known]
    cosines = _cosines(towers.image_features(pictures), towers.text_features([words(who) for who in said]))
    species = [[a["species"] == b["species"] for b in said] for a in said]
    others = cosines.masked_fill(torch.tensor(species), -1).amax(1)
    assert (cosines.diagonal() > others).float().mean() > 0.9
    views = towers.view_features(pictures)
    likeness = _cosines(views, views).fill_diagonal_(-1)
    nearest = likeness.argmax(1).tolist()
    assert np.mean([said[index] == said[near] for index, near in enumerate(nearest)]) > 0.8


def _cosines(first, second):
    return torch.nn.functional.normalize(first, dim=-1) @ torch.nn.functional.normalize(second, dim=-1).T


def test_a_crop_is_the_box():
    image = torch.rand(1, 3, 32, 32)
    found = crop_boxes(image, torch.tensor([[0.25, 0.5, 0.75, 1.0]]), size=16)
    torch.testing.assert_close(found, image[:, :, 16:32, 8:24])


def test_pictures_of_any_kind_are_read_alike():
    array = np.random.default_rng(0).integers(0, 256, (1, 128, 128, 3), np.uint8)
    torch.testing.assert_close(pixels_of(array), pixels_of([Image.fromarray(array[0])]))
    assert pixels_of(array)[0, 2, 5, 7] == array[0, 5, 7, 2] / 127.5 - 1


def test_bad_input_is_refused(judges, towers, tmp_path):
    with pytest.raises(ValueError, match="uint8"):
        pixels_of(np.zeros((1, 8, 8, 3)))
    with pytest.raises(ValueError, match="at least one"):
        judges.look([])
    with pytest.raises(ValueError, match=r"`boxes` must be \(1, 4\)"):
        judges.characters(np.zeros((1, 8, 8, 3), np.uint8), np.zeros((2, 4)))
    with pytest.raises(ValueError, match="hugging.*'corgi'"):
        towers.text_features(["a corgi is hugging a cat"])
    with pytest.raises(ValueError, match="missing"):
        MiniatureJudges.load(tmp_path)
    (tmp_path / "picture_judge.safetensors").write_bytes(b"no weights")
    with pytest.raises(ValueError, match="no file of the miniature's judges"):
        read_network(tmp_path / "picture_judge.safetensors")
