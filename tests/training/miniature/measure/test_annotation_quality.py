"""Figures of annotators on the drawn world: exact ones score fully, and known errors score as they are."""

import numpy as np
import pytest
import torch

from relationbooth_pipeline.triplets import read_triplets
from relationbooth_pipeline.triplets.annotators import (
    ALL_MINIATURE,
    BoxFinder,
    Choice,
    KeypointFinder,
    RelationJudge,
    Segmenter,
    choose,
    choose_all,
)
from relationbooth_pipeline.triplets.annotators.miniature import is_here
from relationbooth_pipeline.vision.pictures import picture_digest
from training.miniature.measure.annotation_quality import measure
from training.miniature.world.triplets import draw_triplet, write_triplets

COUNT = 4


class World:
    """What is true of every picture, by its pixels and the phrase."""

    def __init__(self, folder, pose):
        import random

        from PIL import Image

        write_triplets(folder, pose, 2 * COUNT + 8)
        self.truth = {}
        for number, triplet in enumerate(read_triplets(folder)):
            target, prompts, _ = draw_triplet(pose, random.Random(number))
            for i, phrase in enumerate(triplet.phrases):
                for file, scene, k in ((triplet.image, target, i), (triplet.image_prompts[i], prompts[i], 0)):
                    key = picture_digest(Image.open(file).convert("RGB")), phrase
                    self.truth[key] = scene.boxes[k].tolist(), scene.masks[k], scene.keypoints[k], file == triplet.image

    def of(self, image, phrase):
        return self.truth[picture_digest(image), phrase]


def exact(world, shift=0.0, swapped=False):
    """Annotators that know the truth; `shift`: keypoints move right by so much of the box, `swapped`: boxes too."""

    class Boxes(BoxFinder):
        checkpoint = "exact"

        def find(self, image, phrase):
            others = [p for (digest, p) in world.truth if digest == picture_digest(image) and p != phrase]
            told = others[0] if swapped and others else phrase
            return [(tuple(world.of(image, told)[0]), 0.9)]

    class Masks(Segmenter):
        checkpoint = "exact"

        def segment(self, image, box, phrase):
            return torch.from_numpy(np.ascontiguousarray(world.of(image, phrase)[1]))

    class Points(KeypointFinder):
        checkpoint, keypoint_order = "exact", "AP-10K"

        def keypoints(self, image, box, phrase):
            box, _, points, _ = world.of(image, phrase)
            points = torch.from_numpy(points.copy())
            points[:, 0] += shift * max(box[2] - box[0], box[3] - box[1])
            return points

    class Judge(RelationJudge):
        checkpoint = "exact"

        def probability(self, image, phrases, predicate):
            return float(world.of(image, phrases[0])[3]) if (picture_digest(image), phrases[0]) in world.truth else 0.0

    made = {"boxes": Boxes, "masks": Masks, "keypoints": Points, "judge": Judge}
    return {
        **{role: Choice(role, "exact", cls) for role, cls in made.items()},
        "captions": None,
        "likeness": choose("likeness", "miniature"),
    }


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    return World(tmp_path_factory.mktemp("world"), "shaking_hands")


def test_exact_annotators_score_fully_and_pass_the_filters(world, tmp_path):
    quality = measure("shaking_hands", COUNT, exact(world), tmp_path)
    assert quality.triplets == COUNT and quality.missing == quality.exchanged == 0
    assert quality.box_iou == pytest.approx(1, abs=1e-5) and quality.keypoints < 1e-5
    assert quality.accepted == COUNT, quality.refused


def test_known_errors_score_as_they_are(world, tmp_path):
    shifted = measure("shaking_hands", COUNT, exact(world, shift=0.03), tmp_path / "a")
    assert shifted.keypoints == pytest.approx(0.03, abs=1e-4)
    swapped = measure("shaking_hands", COUNT, exact(world, swapped=True), tmp_path / "b")
    assert swapped.exchanged == COUNT and swapped.accepted == 0


@pytest.mark.skipif(not is_here(), reason="the miniature's annotator is not here")
def test_the_miniature_never_exchanges_two(tmp_path):
    quality = measure("shaking_hands", 10, choose_all(ALL_MINIATURE), tmp_path)
    assert quality.exchanged == 0 and quality.box_iou > 0.7
