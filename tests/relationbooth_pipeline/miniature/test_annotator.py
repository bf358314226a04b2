"""The annotator on photos with known characters: who is found, where, and what is refused."""

import numpy as np
import pytest
from PIL import Image

from relationbooth_pipeline.miniature.annotator import MiniatureAnnotator, overlap

from .photos import photos, side_by_side, words


@pytest.fixture(scope="module")
def annotator():
    return MiniatureAnnotator.load()


@pytest.fixture(scope="module")
def known():
    return photos()


def test_every_photo_s_character_is_found_once_by_its_own_words(annotator, known):
    for said, photo in known:
        for phrase in (words(said), said["species"], f"{said['color']} {said['species']}", "an animal"):
            found = annotator.find(photo, phrase)
            assert len(found) == 1, f"{phrase} in a photo of {words(said)}: {found}"
            assert 0.5 <= found[0][1] <= 1


def test_another_word_finds_nobody(annotator, known):
    for said, photo in known[::3]:
        for name, values in annotator.attributes.items():
            for value in (v for v in values if v not in (said[name], "none")):
                phrase = "plain " * (value == "plain") + words({**said, name: value})
                assert not annotator.find(photo, phrase), f"{phrase} in a photo of {words(said)}"


def test_mask_box_and_keypoints_are_of_one_place(annotator, known):
    for said, photo in known[:6]:
        phrase = words(said)
        ((box, _),) = annotator.find(photo, phrase)
        mask, points = annotator.segment(photo, box, phrase), annotator.keypoints(photo, box, phrase)
        assert mask.shape == (photo.height, photo.width) and mask.dtype == bool
        rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
        around = columns[0], rows[0], columns[-1] + 1, rows[-1] + 1
        assert np.abs(np.array(around) / photo.width - box).max() < 0.02
        visible = points[points[:, 2] > 0.5]
        assert points.shape == (17, 3) and len(visible) >= 8
        inside = mask[(visible[:, 1] * photo.height).astype(int), (visible[:, 0] * photo.width).astype(int)]
        assert inside.mean() > 0.8


def test_keypoints_have_their_names_places(annotator, known):
    """AP-10K: eyes above the nose, nose above the neck, paws below the hips; the left eye is the viewer's right one."""
    for said, photo in known[:6]:
        ((box, _),) = annotator.find(photo, words(said))
        left_eye, right_eye, nose, neck = annotator.keypoints(photo, box, words(said))[:4]
        feet = annotator.keypoints(photo, box, words(said))[[13, 16]]
        assert left_eye[0] > right_eye[0]
        assert max(left_eye[1], right_eye[1]) < nose[1] < neck[1] < feet[:, 1].min()


def test_who_stands_beside_whom_is_never_exchanged(annotator, known):
    apart = [(a, b) for a, b in zip(known, known[1:]) if a[0]["species"] != b[0]["species"]]
    for (first, photo), (second, other) in apart[::2]:
        for said, left in (((first, second), photo), ((second, first), other)):
            picture = side_by_side(left, other if left is photo else photo)
            phrases = [f"{who['color']} {who['species']}" for who in said]
            places = [annotator.find(picture, phrase) for phrase in phrases]
            assert [len(found) for found in places] == [1, 1], f"{phrases}: {places}"
            boxes = [found[0][0] for found in places]
            middles = [(box[0] + box[2]) / 2 for box in boxes]
            assert middles[0] < 0.4 and middles[1] > 0.6
            masks = [annotator.segment(picture, box, phrase) for box, phrase in zip(boxes, phrases)]
            assert not (masks[0] & masks[1]).any()


def test_in_one_box_the_phrase_decides(annotator, known):
    """The box of the whole picture holds both; a box nearer to one of them does not outweigh a wrong phrase."""
    (first, photo), (second, other) = known[0], next(k for k in known if k[0]["species"] != known[0][0]["species"])
    picture = side_by_side(photo, other)
    for said, side in ((first, 0), (second, 1)):
        mask = annotator.segment(picture, (0.1 + 0.1 * (1 - side), 0, 0.9 - 0.1 * side, 1), words(said))
        columns = np.flatnonzero(mask.any(0)) / picture.width
        assert (columns.max() < 0.6) if side == 0 else (columns.min() > 0.4)


def test_two_that_a_phrase_may_mean_are_two(annotator, known):
    found = annotator.find(side_by_side(known[0][1], known[1][1]), "an animal")
    assert len(found) == 2 and overlap(found[0][0], found[1][0]) < 0.1


def test_the_size_of_a_picture_changes_nothing(annotator, known):
    said, photo = known[0]
    ((small, _),) = annotator.find(photo.resize((128, 128), Image.Resampling.BICUBIC), words(said))
    ((large, _),) = annotator.find(photo.resize((512, 512), Image.Resampling.BICUBIC), words(said))
    assert np.abs(np.array(small) - large).max() < 0.03


def test_nothing_there_is_said(annotator):
    for color in ((150, 205, 110), (175, 220, 250), (38, 42, 92), (226, 216, 204), (255, 255, 255), (0, 0, 0)):
        empty = Image.new("RGB", (96, 64), color)
        assert annotator.people(empty) == [] == annotator.find(empty, "red cat")
    assert not annotator.segment(empty, (0, 0, 1, 1), "red cat").any()
    assert not annotator.keypoints(empty, (0, 0, 1, 1), "red cat").any()
    assert annotator.segment(empty, (0, 0, 1, 1), "red cat").shape == (64, 96)


def test_unknown_words_are_refused_and_known_ones_named(annotator, known):
    photo = known[0][1]
    with pytest.raises(ValueError, match=r"`phrase` must be of the drawn world's words: .*rabbit.*got 'corgi'"):
        annotator.find(photo, "a red corgi")
    with pytest.raises(ValueError, match="got ' '"):
        annotator.find(photo, " ")
    with pytest.raises(ValueError, match="`predicate` must be .*shaking hands.*got 'eating'"):
        annotator.relation(photo, "eating")


def test_a_photo_of_one_shows_no_relation(annotator, known):
    assert annotator.keypoint_order == "AP-10K"
    for _, photo in known[:6]:
        alone = annotator.relation(photo, "standing") + annotator.relation(photo, "waving")
        for predicate in ("is hugging", "dancing with", "jumping", "playing guitar"):
            assert annotator.relation(photo, predicate) < alone / 2
        assert annotator.relation(photo, "waving") == annotator.relation(photo, "is waving")
