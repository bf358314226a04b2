"""Plain pictures of the drawn world, annotated by the miniature's own annotator, against the exact annotations."""

import csv
import json

import pytest
import torch

from relationbooth_pipeline.triplets import read_triplets
from relationbooth_pipeline.triplets.annotation import Thresholds, annotate, keep_pictures
from relationbooth_pipeline.triplets.annotators import ALL_MINIATURE, choose_all
from relationbooth_pipeline.triplets.annotators.miniature import is_here
from relationbooth_pipeline.triplets.engine import WorkFolder
from relationbooth_pipeline.triplets.photos import read_pictures
from relationbooth_pipeline.vision.detectors import overlap
from training.miniature.world.triplets import write_triplets

pytestmark = pytest.mark.skipif(not is_here(), reason="the miniature's annotator is not here")
COUNT = 40


@pytest.fixture(scope="module")
def annotated(tmp_path_factory):
    """(exact triplets, work folder after the filters)."""
    root = tmp_path_factory.mktemp("world")
    write_triplets(root / "exact", "hugging", COUNT, detail="full")  # full names: two cats differ in their words
    exact, rows = read_triplets(root / "exact"), [("target", "objects", "phrases", "predicate", "prompt")]
    for t in exact:
        objects = ";".join(str(file) for file in t.image_prompts)
        rows.append((str(t.image), objects, ";".join(t.phrases), t.predicate, t.prompt))
    with open(root / "pictures.csv", "w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows(rows)
    work = WorkFolder(root / "work")
    keep_pictures(work, read_pictures(root / "pictures.csv"))
    annotate(work, choose_all(ALL_MINIATURE), Thresholds())
    return exact, work


def test_boxes_overlap_the_exact_ones(annotated):
    exact, work = annotated
    shares, exchanged = [], 0
    for triplet in exact:
        find = work.record("find", triplet.image.stem)
        boxes = [None if k is None else f[k][:4] for f, k in zip(find["target"], find["taken"]["target"])]
        own = [0.0 if box is None else overlap(box, true) for box, true in zip(boxes, triplet.boxes.tolist())]
        other = [0.0 if box is None else overlap(box, true) for box, true in zip(boxes, triplet.boxes.flip(0).tolist())]
        shares += own
        exchanged += sum(other) > sum(own)
    mean = sum(shares) / len(shares)
    print(f"boxes: mean IoU {mean:.3f}, least {min(shares):.3f}, exchanged {exchanged} of {len(exact)}")
    assert mean >= 0.85 and exchanged == 0


def test_keypoints_are_near_the_exact_ones(annotated):
    """Mean distance over visible keypoints, in units of the box's longer side."""
    exact, work = annotated
    distances = []
    for triplet in exact:
        found = work.record("keypoints", triplet.image.stem)
        for part, wanted in (("target", triplet.keypoints), ("objects", triplet.image_prompt_keypoints)):
            points = torch.tensor(found[part])
            for i in range(2):
                visible = wanted[i, :, 2] > 0
                low, high = wanted[i, visible, :2].amin(0), wanted[i, visible, :2].amax(0)
                side = (triplet.boxes[i, 2:] - triplet.boxes[i, :2]).max() if part == "target" else (high - low).max()
                distances += ((points[i] - wanted[i])[visible, :2].norm(dim=-1) / side).tolist()
    mean = sum(distances) / len(distances)
    print(f"keypoints: mean distance {mean:.4f} of the box")
    assert mean <= 0.05


def test_most_pass_the_filters(annotated):
    exact, work = annotated
    records = [work.record("filter", triplet.image.stem) for triplet in exact]
    accepted = sum(record["accepted"] for record in records)
    print(f"accepted {accepted}; {json.dumps([[r['rule'] for r in record['reasons']] for record in records])}")
    assert accepted >= 0.6 * len(exact)
