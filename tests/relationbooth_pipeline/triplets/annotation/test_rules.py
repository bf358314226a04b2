"""Every rule: the good pass all, each defect fails its own rule, and figures agree with plain loops."""

import math
from dataclasses import replace

import pytest
import torch

from relationbooth_pipeline.triplets.annotation.rules import findings
from relationbooth_pipeline.triplets.annotation.thresholds import Thresholds

from .evidence import LEFT, RIGHT, WHOLE, filled, good, points, random_evidence, with_one

T = Thresholds()
STRIP = (0.5, 0.1, 0.6, 0.9)
SAME_POSE = torch.stack([points(WHOLE, 1), points(WHOLE, 4)])  # the same places in the box
PLACES = ("keypoints_inside", "target_keypoints", "shared_keypoints")
FAR, PART, GROUP = (0.55, 0.1, 0.95, 0.9), (0.1, 0.2, 0.3, 0.5), (0.0, 0.0, 1.0, 1.0)


# Any figure passes.
LOOSE = replace(
    T, box_score=-9, rival_score=9, box_area=-9, mask_in_box=-9, mask_fills_box=-9, mask_overlap=9, keypoints_inside=-9,
    keypoint_lead=-9, target_keypoints=-9, shared_keypoints=-9, identity=-9, identity_margin=-9, copy_pixels=-9,
    copy_keypoints=-9, relation_yes=-9, relation_no=9,
)  # fmt: skip


def refused(evidence, thresholds=T) -> set:
    return {(f.rule, f.object) for f in findings(evidence, thresholds) if not f.passed}


def rival(box, share):
    return {"found": [[[*LEFT, 0.9], [*box, 0.9 * share]], good().found[1]]}


def test_the_good_pass_every_rule_and_leave_a_figure_of_each():
    found = list(findings(good(), T))
    assert all(f.passed for f in found)
    pairs = ("box", "area", "rival", "mask", "mask_in_box", "keypoints_inside")
    wanted = {f"{rule}{suffix}" for rule in pairs for suffix in ("", "_alone")}
    wanted |= {"mask_overlap", "keypoint_place", "target_keypoints", "shared_keypoints", "identity", "identity_margin"}
    assert {f.rule for f in found} == wanted | {"another_pose", "relation", "relation_alone"}


def overlapping(width):
    """Two masks that reach over the middle: they share (2·width − 1) / 1 of the picture's width."""
    boxes = [(0, 0.1, width, 0.9), (1 - width, 0.1, 1, 0.9)]
    keypoints = torch.stack([points((0, 0.1, 0.2, 0.9), 1), points((0.8, 0.1, 1, 0.9), 2)])
    return {"boxes": boxes, "masks": [filled(box) for box in boxes], "keypoints": keypoints}


def unsure(box, seed, count):
    """Keypoints of which `count` are seen."""
    return torch.cat([points(box, seed)[:count], points(box, seed, T.keypoint_score - 0.01)[count:]])


def half_unsure(box, other, seed):
    """Eight keypoints that are seen in a box, nine that nobody is sure of in another."""
    return torch.cat([points(box, seed)[:8], points(other, seed, T.keypoint_score - 0.01)[8:]])


@pytest.mark.parametrize(
    "changes, rules",
    [
        # boxes
        ({"found": [[[*LEFT, 0.29]], good().found[1]]}, {("box", 0)}),
        ({"found_alone": [good().found_alone[0], [[*WHOLE, 0.1]]]}, {("box_alone", 1)}),
        (rival(FAR, 0.71), set()),  # the other phrase took that box
        ({**rival((0.2, 0.0, 0.8, 0.3), 0.71)}, {("rival", 0)}),
        (rival((0.2, 0.0, 0.8, 0.3), 0.69), set()),
        (rival(PART, 0.99), set()),
        (rival(GROUP, 0.99), set()),
        ({"found_alone": [[[*LEFT, 0.9], [*RIGHT, 0.8]], good().found_alone[1]]}, {("rival_alone", 0)}),
        # masks
        ({"masks": [filled(LEFT), filled(STRIP)], "keypoints": torch.stack([points(LEFT, 1), points(STRIP, 2)])},
         {("mask", 1)}),
        ({"masks": [filled((0, 0, 0.5, 1)), filled(RIGHT)]}, {("mask_in_box", 0)}),
        ({"masks": [filled(LEFT), filled((0.3, 0.1, 1.0, 0.9))]}, {("mask_in_box", 1)}),
        (overlapping(0.6), set()),
        (overlapping(0.7), {("mask_overlap", None)}),
        ({"masks_alone": [None, good().masks_alone[1]]},
         {("mask_alone", 0), ("keypoints_inside_alone", 0), ("shared_keypoints", 0)}),
        # keypoints
        ({"keypoints": good().keypoints.flip(0)},
         {("keypoint_place", None), *((f"{rule}", i) for rule in PLACES for i in (0, 1))}),
        ({"keypoints": torch.stack([unsure(LEFT, 1, 5), points(RIGHT, 2)])}, {("target_keypoints", 0)}),
        ({"keypoints": torch.stack([unsure(LEFT, 1, 6), points(RIGHT, 2)])}, set()),
        ({"keypoints_alone": torch.stack([points(WHOLE, 3), unsure(WHOLE, 4, 3)])}, {("shared_keypoints", 1)}),
        ({"keypoints": torch.stack([half_unsure(LEFT, RIGHT, 1), half_unsure(RIGHT, LEFT, 2)])}, set()),
        ({"keypoints": torch.zeros(2, 17, 3), "has_keypoints": False}, set()),
        # identity and pose
        ({"similarity": [[0.29, 0.1], [0.3, 0.7]]}, {("identity", 0)}),
        ({"similarity": [[0.8, 0.795], [0.3, 0.7]]}, {("identity_margin", 0)}),
        ({"similarity": [[0.8, 0.3], [0.75, 0.7]]}, {("identity_margin", 1)}),
        ({"similarity": [[0.96, 0.3], [0.3, 0.7]], "pixels": [0.01, 0.2]}, {("another_pose", 0)}),
        ({"similarity": [[0.94, 0.3], [0.3, 0.7]], "pixels": [0.01, 0.2]}, set()),
        ({"similarity": None, "pixels": [0.01, 0.2]}, {("another_pose", 0)}),
        ({"similarity": [[0.96, 0.3], [0.3, 0.7]], "keypoints_alone": SAME_POSE}, {("another_pose", 0)}),
        ({"similarity": [[0.94, 0.3], [0.3, 0.7]], "keypoints_alone": SAME_POSE}, set()),
        # relation
        ({"relation": (0.49, [0.1, 0.1])}, {("relation", None)}),
        ({"relation": (0.9, [0.1, 0.51])}, {("relation_alone", 1)}),
        ({"relation": (None, [None, None])}, set()),
    ],
)  # fmt: skip
def test_each_defect_fails_its_own_rule(changes, rules):
    assert refused(replace(good(), **changes)) == rules


def test_an_object_that_nobody_found_is_refused_as_such():
    changes = {
        "found": [[], good().found[1]], "taken": [None, 0], "boxes": with_one(good().boxes, 0, None),
        "masks": with_one(good().masks, 0, None), "pixels": [None, 0.2], "similarity": [[None, 0.3], [None, 0.7]],
    }  # fmt: skip
    changes["keypoints"] = torch.stack([torch.zeros(17, 3), good().keypoints[1]])
    assert refused(replace(good(), **changes)) == {("box", 0)}  # not also all that follows from it
    (reason,) = [f for f in findings(replace(good(), **changes), T) if f.rule == "box" and not f.passed]
    assert reason.sentence == "no 'cat' was found in the target." and reason.figure == 0


@pytest.mark.parametrize("thresholds", [replace(T, box_score=0, mask_fills_box=0), LOOSE])
@pytest.mark.parametrize("part", ["", "_alone"])
def test_no_threshold_accepts_what_is_not_there(thresholds, part):
    whole = replace(good(), has_keypoints=False, pixels=[None, 0.2], similarity=None)
    without = replace(whole, **{f"masks{part}": with_one(getattr(whole, f"masks{part}"), 1, None)})
    assert refused(whole, thresholds) == set() and refused(without, thresholds) == {(f"mask{part}", 1)}
    without = replace(
        without,
        **{
            f"found{part}": with_one(getattr(whole, f"found{part}"), 1, []),
            f"taken{part}": with_one(getattr(whole, f"taken{part}"), 1, None),
            f"boxes{part}": with_one(getattr(whole, f"boxes{part}"), 1, None),
        },
    )
    assert refused(without, thresholds) == {(f"box{part}", 1)}


def test_boxes_that_a_person_placed_need_no_detector():
    evidence = replace(good(), found=[[[*LEFT, 0.1], [*FAR, 0.1]], []], taken=[0, None])
    assert {rule for rule, _ in refused(evidence)} == {"box", "rival"}
    assert refused(replace(evidence, judged_by_hand=True)) == set()


@pytest.mark.parametrize("seed", range(30))
def test_figures_agree_with_plain_loops(seed):
    evidence = random_evidence(seed)
    figures = {(f.rule, f.object): f.figure for f in findings(evidence, T)}
    wanted = slow_figures(evidence, T)
    assert {key for key in figures if key[0] in {rule for rule, _ in wanted}} == set(wanted)
    for key, value in wanted.items():
        assert figures[key] == pytest.approx(value, abs=1e-5), key


def slow_figures(e, t) -> dict:
    """Masks' and keypoints' figures, pixel by pixel and point by point."""
    result, counts = {}, {}
    parts = (("", e.boxes, e.masks, e.keypoints), ("_alone", e.boxes_alone, e.masks_alone, e.keypoints_alone))
    for suffix, boxes, masks, keypoints in parts:
        for i, (box, mask) in enumerate(zip(boxes, masks)):
            counted = []
            if box is not None:
                result[f"area{suffix}", i] = (box[2] - box[0]) * (box[3] - box[1])
            if box is not None and mask is None:
                result[f"mask{suffix}", i] = 0
            if mask is not None:
                height, width = mask.shape
                total = inside = cells = 0
                for y in range(height):
                    for x in range(width):
                        # a pixel that the box touches
                        touched = x + 1 > box[0] * width and x < box[2] * width and y + 1 > box[1] * height
                        touched = touched and y < box[3] * height
                        total += mask[y, x]
                        cells += touched
                        inside += touched and mask[y, x]
                result[f"mask_in_box{suffix}", i] = inside / total
                result[f"mask{suffix}", i] = inside / cells
                reach = math.ceil(t.keypoint_reach * max((box[2] - box[0]) * width, (box[3] - box[1]) * height))
            seen = []
            for k, (x, y, score) in enumerate(keypoints[i].tolist()):
                if not (0 <= x <= 1 and 0 <= y <= 1 and score >= t.keypoint_score):
                    continue
                near = mask is not None and any(
                    mask[row, column]
                    for row in range(height)
                    for column in range(width)
                    if abs(row - min(int(y * height), height - 1)) <= reach
                    and abs(column - min(int(x * width), width - 1)) <= reach
                )
                seen.append(near)
                counted += [k] if near else []
            if seen:
                result[f"keypoints_inside{suffix}", i] = sum(seen) / len(seen)
            counts[suffix, i] = set(counted)
    for i in (i for i in range(len(e.phrases)) if e.boxes[i] is not None and e.boxes_alone[i] is not None):
        result["target_keypoints", i] = len(counts["", i])
        result["shared_keypoints", i] = len(counts["", i] & counts["_alone", i])
    if all(mask is not None for mask in e.masks):
        first, second = e.masks
        both = sum(a and b for a, b in zip(first.ravel(), second.ravel()))
        result["mask_overlap", None] = both / sum(a or b for a, b in zip(first.ravel(), second.ravel()))
    return result
