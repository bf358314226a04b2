"""Crops, detection and the identity matrix against plain loops, on tiny real models."""

import itertools

import numpy as np
import pytest
import torch
from transformers import AutoProcessor, GroundingDinoForObjectDetection

from relationbooth_pipeline.evaluation.benches.miniature import FOLDER
from relationbooth_pipeline.evaluation.metrics.detection import DetectedBoxes, GivenBoxes, detector
from relationbooth_pipeline.evaluation.metrics.identity import CropIdentity, assigned, box_overlap, margin
from relationbooth_pipeline.relation_images import open_image
from relationbooth_pipeline.vision.detectors import Detector, Found, crop, overlap, without_copies
from tests.relationbooth_pipeline.vision.tiny_annotators import tiny_grounding_dino

from ..tiny_bench import BOXES, pair
from .slow_metrics import PICTURES, bench, clip, cosine, dino, dino_vector  # noqa: F401


def test_crops_are_compared_with_their_own_object(models, bench, clip, dino):
    case, metric = bench.cases[0], CropIdentity({"CLIP-I": clip, "DINO": dino}, GivenBoxes())
    found = metric.score(bench, case, PICTURES)
    for at, picture in enumerate(PICTURES):
        matrix = []
        for box in case.boxes:
            vector = dino_vector(models["dino"], crop(picture, box))
            row = []
            for i, names in enumerate(case.references):
                photos = [dino_vector(models["dino"], open_image(bench.photo(case, i, k))) for k in range(len(names))]
                row.append(sum(cosine(vector, other) for other in photos) / len(photos))
            matrix.append(row)
        own, other = matrix[0][0] + matrix[1][1], matrix[0][1] + matrix[1][0]
        assert found["crop DINO"][at].figure == pytest.approx(50 * own, abs=2e-3)
        assert found["margin"][at].figure == pytest.approx(50 * (own - other), abs=4e-3)
        assert found["assigned"][at].figure == float(own > other)
    assert "missing" not in found  # given boxes are always there
    alone = metric.score(bench, bench.cases[2], PICTURES[:1])
    assert alone["assigned"][0].figure is None and "one object" in alone["assigned"][0].note


@pytest.mark.parametrize("count", [2, 3, 4])
def test_assignment_and_margin(count):
    matrix = torch.rand(count, count, generator=torch.Generator().manual_seed(count))
    own = sum(matrix[i, i] for i in range(count))
    better = [sum(matrix[i, j] for i, j in enumerate(order)) for order in itertools.permutations(range(count))]
    assert assigned(matrix) == float(sum(s >= own for s in better) == 1)
    assert assigned(torch.eye(count)) == 1 and assigned(torch.ones(count, count)) == 0
    assert margin(torch.eye(count)) == 1 and margin(1 - torch.eye(count)) == -1


class Places:
    """A finder with answers of its own."""

    checkpoint, by_name = "stub", True

    def __init__(self, places):
        self.places = places

    def find(self, case, picture):
        return self.places


def test_an_object_that_is_not_found_counts_nothing_and_is_told(bench, clip, dino):
    metric = CropIdentity({"CLIP-I": clip, "DINO": dino}, Places([Found(BOXES[0], 0.9), None]))
    found = {name: values[0] for name, values in metric.score(bench, bench.cases[0], PICTURES[:1]).items()}
    whole = CropIdentity({"DINO": dino}, Places([Found(BOXES[0], 0.9)])).score(bench, bench.cases[2], PICTURES[:1])
    assert found["crop DINO"].figure == pytest.approx(whole["crop DINO"][0].figure / 2, abs=1e-4)
    assert found["missing"].figure == 0.5 and found["assigned"].figure == 0 and found["margin"].figure is None
    assert found["box mIoU"].figure == pytest.approx(0.5)
    nothing = CropIdentity({"DINO": dino}, Places([None, None])).score(bench, bench.cases[0], PICTURES[:1])
    assert nothing["crop DINO"][0].figure == 0 and nothing["missing"][0].figure == 1


def test_boxes_overlap_as_counted_on_a_grid():
    first, second, cells = (0.1, 0.2, 0.6, 0.9), (0.3, 0.1, 0.8, 0.7), 200
    inside = [
        [b[0] <= (x + 0.5) / cells <= b[2] and b[1] <= (y + 0.5) / cells <= b[3] for b in (first, second)]
        for x in range(cells)
        for y in range(cells)
    ]
    expected = sum(a and b for a, b in inside) / sum(a or b for a, b in inside)
    assert overlap(first, second) == pytest.approx(expected, abs=2e-3)
    assert overlap((0, 0, 0.4, 1), (0.5, 0, 1, 1)) == 0
    assert box_overlap([Found(first, 1), None], (first, second)).figure == 0.5
    assert without_copies([Found(first, 0.9), Found(first, 0.8), Found(second, 0.5)]) == [
        Found(first, 0.9),
        Found(second, 0.5),
    ]


def test_grounding_dino_finds_one_phrase_a_call_where_the_model_alone_puts_it(tmp_path):
    source = tiny_grounding_dino(tmp_path / "dino")
    finder = detector(source, "cpu")()
    finder.detector.threshold = 0.0  # random weights are sure of nothing
    picture = PICTURES[0].resize((96, 64))
    for found, phrase in zip(finder.find(pair(), picture), ("cat", "bear")):
        inputs = AutoProcessor.from_pretrained(source)(images=[picture], text=[f"a {phrase}."], return_tensors="pt")
        with torch.no_grad():
            output = GroundingDinoForObjectDetection.from_pretrained(source).eval()(**inputs)
        scores = output.logits[0].sigmoid().max(-1).values
        x, y, w, h = output.pred_boxes[0][scores.argmax()].tolist()
        corners = [min(max(v, 0.0), 1.0) for v in (x - w / 2, y - h / 2, x + w / 2, y + h / 2)]
        assert found.score == pytest.approx(scores.max().item(), abs=1e-5)
        assert found.box == pytest.approx(corners, abs=1e-5)
    assert "grounding" in finder.detector.kind and "score ≥ 0.25" in finder.checkpoint


def test_the_drawn_world_s_annotator_finds_its_characters_and_nobody_else():
    finder, case = detector("miniature", "cpu")(), pair(phrases=("bear", "cat"))
    for at, name in enumerate(("bear-green-spotted-scarf", "cat-pink-plain-hat")):
        picture = open_image(FOLDER / name / "0.png").resize((128, 128))
        found = finder.find(case, picture)
        assert found[1 - at] is None and found[at].score > 0.5
        ink = np.abs(np.asarray(picture, float) - np.asarray(picture, float)[0, 0]).sum(-1) > 60
        across = np.flatnonzero(ink[20:80].any(0)) / 128  # above the horizon: the character alone
        assert found[at].box[0] == pytest.approx(across[0], abs=0.1)
        assert found[at].box[2] == pytest.approx(across[-1], abs=0.1)


def test_a_detector_finds_each_phrase_and_the_boxes_say_who_is_who(models, monkeypatch):
    owl = Detector(models["owl"], threshold=0.0)
    finder = DetectedBoxes(owl)
    found = finder.find(pair(), PICTURES[0])
    assert finder.by_name and len(found) == 2
    best = owl.boxes(PICTURES[0], "cat")
    assert found[0] == best[0] and best == sorted(best, key=lambda f: -f.score)
    assert all(0 <= f.box[0] < f.box[2] <= 1 and 0 <= f.box[1] < f.box[3] <= 1 for f in best)
    left, right = Found((0.0, 0.0, 0.4, 1.0), 0.5), Found((0.6, 0.0, 1.0, 1.0), 0.9)
    monkeypatch.setattr(owl, "boxes", lambda picture, phrase: [right, left])
    twins = pair(prompt="a cat kisses a cat", phrases=("cat", "cat"), boxes=(BOXES[1], BOXES[0]))
    assert finder.find(twins, PICTURES[0]) == [right, left]
    assert finder.find(pair(prompt="a cat kisses a cat", phrases=("cat", "cat"), boxes=None), PICTURES[0]) == [
        left,
        right,
    ]
