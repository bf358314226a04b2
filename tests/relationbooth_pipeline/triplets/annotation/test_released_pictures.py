"""The authors' public "hug" pictures, without their annotations and with their keypoints."""

import csv
import json
import shutil
from dataclasses import replace

import pytest
import torch

from relationbooth_pipeline.relation_images import read_mask
from relationbooth_pipeline.triplets import read_triplets
from relationbooth_pipeline.triplets.annotation import (
    ExportOptions,
    Thresholds,
    annotate,
    export,
    keep_pictures,
)
from relationbooth_pipeline.triplets.annotation.rules import findings
from relationbooth_pipeline.triplets.annotators import choose_all
from relationbooth_pipeline.triplets.engine import WorkFolder
from relationbooth_pipeline.triplets.photos import read_pictures
from tests.relationbooth_pipeline.triplets.test_released import RELEASED, needs_released
from tests.relationbooth_pipeline.vision.conftest import annotators  # noqa: F401

from .evidence import good

pytestmark = needs_released


def without_annotations(folder):
    """A table of the pictures and words alone."""
    samples = json.loads((RELEASED / "prompts.json").read_text(encoding="utf-8"))
    rows = [("target", "objects", "phrases", "predicate", "prompt")]
    for number, fields in samples.items():
        for name in ("motion", "concept0", "concept1"):
            shutil.copyfile(RELEASED / "videos" / number / f"{name}.png", folder / f"{number}_{name}.png")
        objects = f"{number}_concept0.png;{number}_concept1.png"
        words = ";".join(fields["entities"]), fields["predicate"][0], fields["prompt"]
        rows.append((f"{number}_motion.png", objects, *words))
    with open(folder / "pictures.csv", "w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows(rows)
    return folder


def test_random_models_take_them_from_find_to_export(tmp_path, annotators):  # noqa: F811
    names = {
        "boxes": f"owlv2:{annotators['owl']}", "masks": f"sam:{annotators['sam']}",
        "keypoints": f"vitpose:{annotators['vitpose']}", "captions": f"vlm:{annotators['llava']}",
        "judge": f"vlm:{annotators['llava']}", "likeness": f"dino:{annotators['dino']}",
    }  # fmt: skip
    (tmp_path / "pictures").mkdir()
    work = WorkFolder(tmp_path / "work")
    keep_pictures(work, read_pictures(without_annotations(tmp_path / "pictures")))
    annotate(work, choose_all(names), Thresholds())
    with pytest.raises(ValueError, match="none of 5 candidates is left"):  # random models find nothing true
        export(work, tmp_path / "out", ExportOptions(accept_all=True))
    # a person draws boxes and accepts: those are looked into, and the folder is whole
    lines = [
        {"candidate": c.id, "decision": "accept", "boxes": [[0.1, 0.1, 0.5, 0.9], [0.4, 0.1, 0.9, 0.9]]}
        for c in work.candidates()
    ]
    (work.root / "decisions.jsonl").write_text("\n".join(map(json.dumps, lines)))
    annotate(work, choose_all(names), Thresholds())
    masked = [all(work.record("segment", c.id)["target"]) for c in work.candidates()]
    if not all(masked):  # random weights may give an empty mask
        lines = [{**line, "decision": "accept" if whole else "reject"} for line, whole in zip(lines, masked)]
        (work.root / "decisions.jsonl").write_text("\n".join(map(json.dumps, lines)))
    facts = export(work, tmp_path / "out", ExportOptions())
    triplets = read_triplets(tmp_path / "out")
    assert len(triplets) == facts.exported == sum(masked) > 0
    assert {t.keypoint_order for t in triplets} == {"COCO"}
    assert [t.prompt for t in triplets][0] == "A lion and a polar bear hug."


def test_their_exchanged_keypoints_are_refused():
    """Their masks are filled boxes and all keypoints are sure, so only the place is asked for here."""
    verdicts = {}
    for triplet in read_triplets(RELEASED):
        masks = [read_mask(file).numpy() for file in triplet.masks]
        evidence = replace(
            good(), phrases=triplet.phrases, masks=masks, boxes=triplet.boxes.tolist(), keypoints=triplet.keypoints,
            keypoints_alone=triplet.image_prompt_keypoints, masks_alone=[torch.ones(8, 8, dtype=bool).numpy()] * 2,
            boxes_alone=[(0, 0, 1, 1)] * 2,
        )  # fmt: skip
        (place,) = [f for f in findings(evidence, Thresholds()) if f.rule == "keypoint_place"]
        verdicts[triplet.name] = (place.passed, place.sentence)
    assert verdicts["sample 2"] == (False, "keypoints are another object's.")
    assert verdicts["sample 1"] == (False, "keypoints cannot be told from another order's.")
    assert all(verdicts[f"sample {i}"][0] for i in (0, 3, 4))
