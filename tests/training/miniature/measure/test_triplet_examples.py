"""The documentation's good and bad triplets: each is refused by the rule that stands below it, and by no other."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from relationbooth_pipeline.triplets.annotation import Thresholds
from relationbooth_pipeline.triplets.annotation.likeness import cut_out, difference
from relationbooth_pipeline.triplets.annotation.rules import Evidence, findings
from relationbooth_pipeline.vision.towers import MiniatureViewTower
from training.miniature.measure.triplet_examples import examples, main

DRAWN = examples()


def features(tower, scenes_and_masks):
    cuts = [cut_out(Image.fromarray(scene.image), mask) for scene, mask in scenes_and_masks]
    return cuts, torch.nn.functional.normalize(tower.image_features(cuts), dim=-1)


@pytest.fixture(scope="module")
def tower():
    return MiniatureViewTower()


@pytest.mark.parametrize("example", DRAWN, ids=[str(example.rule) for example in DRAWN])
def test_each_is_refused_by_its_rule_alone(example, tower):
    target, prompts = example.target, example.prompts
    inside, of_target = features(tower, [(target, mask) for mask in target.masks])
    alone, of_prompts = features(tower, [(prompt, prompt.masks[0]) for prompt in prompts])
    boxes, boxes_alone = target.boxes.tolist(), [prompt.boxes[0].tolist() for prompt in prompts]
    evidence = Evidence(
        phrases=["cat", "bear"],
        found=[[[*box, 0.9]] for box in boxes],
        found_alone=[[[*box, 0.9]] for box in boxes_alone],
        taken=[0, 0],
        taken_alone=[0, 0],
        boxes=boxes,
        boxes_alone=boxes_alone,
        masks=list(target.masks),
        masks_alone=[prompt.masks[0] for prompt in prompts],
        keypoints=torch.tensor(target.keypoints),
        keypoints_alone=torch.tensor(np.concatenate([prompt.keypoints for prompt in prompts])),
        has_keypoints=True,
        similarity=(of_prompts @ of_target.T).tolist(),
        pixels=list(map(difference, alone, inside)),
        relation=(float(target.pose == "hugging"), [0.0, 0.0]),
    )
    refused = {finding.rule for finding in findings(evidence, Thresholds()) if not finding.passed}
    expected = {example.rule} - {None}
    if example.rule == "keypoint_place":  # what lies in another's mask is not seen in its own
        expected |= {"keypoints_inside", "target_keypoints", "shared_keypoints"}
    if example.rule == "identity_margin":  # a stranger may also be like nobody
        refused -= {"identity"}
    assert refused == expected


def test_the_page_s_picture_is_drawn_from_them(tmp_path):
    main([str(tmp_path / "sheet.png")])
    kept = Path(__file__).parents[4] / "docs" / "images" / "triplets.png"
    assert kept.stat().st_size < 150_000
    drawn, shown = (np.asarray(Image.open(file).convert("RGB"), dtype=int) for file in (tmp_path / "sheet.png", kept))
    assert drawn.shape == shown.shape and np.abs(drawn - shown).mean() < 1
