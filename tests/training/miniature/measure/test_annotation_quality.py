"""Figures of annotators on the drawn world: exact ones score fully, and known errors score as they are."""

import numpy as np
import pytest
import torch

from relationbooth_pipeline.triplets.annotation import stage
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
from training.miniature.measure.annotation_quality import annotated, compared, distinct_triplets, measure
from training.miniature.world.triplets import draw_triplet

COUNT = 4


class World:
    """What is true of every picture, by its pixels and the phrase."""

    def __init__(self, folder, pose):
        import random

        from PIL import Image

        self.triplets = distinct_triplets(pose, COUNT, folder / "exact")
        self.folder, self.truth = folder, {}
        for triplet in self.triplets:
            target, prompts, _ = draw_triplet(pose, random.Random(int(triplet.image.stem[-4:])))
            for i, phrase in enumerate(triplet.phrases):
                for file, scene, k in ((triplet.image, target, i), (triplet.image_prompts[i], prompts[i], 0)):
                    key = picture_digest(Image.open(file).convert("RGB")), phrase
                    self.truth[key] = scene.boxes[k].tolist(), scene.masks[k], scene.keypoints[k], file == triplet.image

    def of(self, image, phrase):
        return self.truth[picture_digest(image), phrase]

    def read_by(self, name, **errors):
        """What annotators of these errors score."""
        (self.folder / name).mkdir()
        return compared(self.triplets, annotated(self.triplets, exact(self, **errors), self.folder / name))


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


@pytest.fixture(autouse=True)
def nothing_to_collect(monkeypatch):
    """The collector would take most of the time: everything that is imported is looked through."""
    monkeypatch.setattr(stage.gc, "collect", lambda: 0)


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    return World(tmp_path_factory.mktemp("world"), "shaking_hands")


def test_exact_annotators_score_fully_and_pass_the_filters(world):
    quality = world.read_by("exactly")
    assert quality.triplets == COUNT and quality.missing == quality.exchanged == 0
    assert quality.box_iou == pytest.approx(1, abs=1e-5) and quality.keypoints < 1e-5
    assert quality.accepted == COUNT, quality.refused


def test_known_errors_score_as_they_are(world):
    shifted = world.read_by("shifted", shift=0.03)
    assert shifted.keypoints == pytest.approx(0.03, abs=1e-4)
    swapped = world.read_by("swapped", swapped=True)
    assert swapped.exchanged == COUNT and swapped.accepted == 0


@pytest.mark.skipif(not is_here(), reason="the miniature's annotator is not here")
@pytest.mark.parametrize("pose", ["shaking_hands", "jumping"])
def test_the_miniature_reads_boxes_and_keypoints_within_the_limits_and_exchanges_nobody(pose, tmp_path):
    """On pictures enough to see a broken one; forty of each are the program's."""
    chosen = choose_all({**ALL_MINIATURE, "judge": "none", "likeness": "none"})
    quality = measure(pose, 6, chosen, tmp_path)
    assert quality.missing == quality.exchanged == 0
    assert quality.box_iou >= 0.85 and quality.keypoints <= 0.05
