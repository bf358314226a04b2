"""The rules that a candidate must pass: boxes, masks, keypoints, identity, pose, relation; figures in, findings out."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from ...vision.detectors import overlap
from ..keypoints import assignment_lead
from .find import Scored
from .keypoint_rules import box_places, inside_own_mask, seen
from .thresholds import Thresholds


@dataclass(frozen=True)
class Evidence:
    """What the stages found of one candidate. N objects, H × W the target's size, H_i × W_i the object's picture's.

    Attributes:
        found: boxes of each phrase in the target, best first; found_alone: in the objects' own pictures.
        taken, taken_alone: which of them is the object's, None when there is none. boxes, boxes_alone: those that hold.
        masks, masks_alone: bool arrays, or None. keypoints, keypoints_alone: (N, 17, 3) with scores.
        has_keypoints: whether anybody looked for them. similarity, pixels: of stage likeness. relation: of that stage.
        judged_by_hand: the review placed these boxes: what the detector was sure of no longer says anything.
    """

    phrases: Sequence[str]
    found: Sequence[Sequence[Scored]]
    found_alone: Sequence[Sequence[Scored]]
    taken: Sequence[int | None]
    taken_alone: Sequence[int | None]
    boxes: Sequence[Sequence[float] | None]
    boxes_alone: Sequence[Sequence[float] | None]
    masks: Sequence[np.ndarray | None]
    masks_alone: Sequence[np.ndarray | None]
    keypoints: torch.Tensor
    keypoints_alone: torch.Tensor
    has_keypoints: bool
    similarity: Sequence[Sequence[float | None]] | None
    pixels: Sequence[float | None]
    relation: tuple[float | None, Sequence[float | None]]
    judged_by_hand: bool = False


@dataclass(frozen=True)
class Finding:
    """A rule's figure of one object (None: of the target as a whole), and whether it passes.

    Attributes:
        threshold: None where none may let it pass. sentence: what it means, for people.
    """

    rule: str
    object: int | None
    figure: float
    threshold: float | None
    passed: bool
    sentence: str

    def as_record(self) -> dict:
        return {name: getattr(self, name) for name in ("rule", "object", "figure", "threshold", "sentence")}


def at_least(rule: str, index: int | None, figure: float, threshold: float, sentence: str) -> Finding:
    """A finding that passes from its threshold on."""
    return Finding(rule, index, float(figure), threshold, bool(figure >= threshold), sentence)


def at_most(rule: str, index: int | None, figure: float, threshold: float, sentence: str) -> Finding:
    """A finding that passes up to its threshold."""
    return Finding(rule, index, float(figure), threshold, bool(figure <= threshold), sentence)


def absent(rule: str, index: int, sentence: str) -> Finding:
    """A finding that no threshold lets pass: there is nothing that a figure could be of."""
    return Finding(rule, index, 0.0, None, False, sentence)


def findings(evidence: Evidence, t: Thresholds) -> Iterator[Finding]:
    """All rules' findings. A rule whose figure does not exist (no mask, no judge) says nothing: what is missing is
    another rule's finding, or was turned off by name."""
    yield from box_findings(evidence, t)
    yield from mask_findings(evidence, t)
    if evidence.has_keypoints:
        yield from keypoint_findings(evidence, t)
    yield from identity_findings(evidence, t)
    yield from relation_findings(evidence, t)


def box_findings(e: Evidence, t: Thresholds) -> Iterator[Finding]:
    parts = (
        ("the target", e.found, e.taken, e.boxes, ""),
        ("its own picture", e.found_alone, e.taken_alone, e.boxes_alone, "_alone"),
    )
    for where, found, taken, boxes, suffix in parts:
        for i, phrase in enumerate(e.phrases):
            if boxes[i] is None:
                yield absent(f"box{suffix}", i, f"no {phrase!r} was found in {where}.")
                continue
            area = (boxes[i][2] - boxes[i][0]) * (boxes[i][3] - boxes[i][1])
            yield at_least(f"area{suffix}", i, area, t.box_area, f"{phrase!r} takes {area:.1%} of {where}.")
            if taken[i] is None or (e.judged_by_hand and not suffix):
                continue
            score = found[i][taken[i]][4]
            yield at_least(f"box{suffix}", i, score, t.box_score, f"{phrase!r} is found in {where} at {score:.2f}.")
            others = [found[j][k] for j, k in enumerate(taken) if j != i and k is not None] if not suffix else []
            share = rival_share(found[i], taken[i], others, t)
            sentence = f"a second {phrase!r} in {where} has {share:.0%} of the first's score."
            yield at_most(f"rival{suffix}", i, share, t.rival_score, sentence)


def rival_share(found: Sequence[Scored], taken: int, others: Sequence[Scored], t: Thresholds) -> float:
    """Score of the best second box of a phrase over the taken one's; 0 when there is none.

    No rivals are boxes that another phrase took, parts of the taken box, and groups around it.
    """
    own = found[taken]
    rivals = [
        box[4] / own[4]
        for k, box in enumerate(found)
        if k != taken
        and all(overlap(box[:4], other[:4]) < 0.5 for other in others)
        and shared_part(box, own) < t.rival_inside
    ]
    return max(rivals, default=0.0)


def shared_part(first: Sequence[float], second: Sequence[float]) -> float:
    """Intersection of two XYXY boxes over the smaller one's area."""
    width = min(first[2], second[2]) - max(first[0], second[0])
    height = min(first[3], second[3]) - max(first[1], second[1])
    smaller = min((b[2] - b[0]) * (b[3] - b[1]) for b in (first, second))
    return max(width, 0.0) * max(height, 0.0) / smaller if smaller > 0 else 0.0


def mask_findings(e: Evidence, t: Thresholds) -> Iterator[Finding]:
    for where, masks, boxes, suffix in (("", e.masks, e.boxes, ""), (" alone", e.masks_alone, e.boxes_alone, "_alone")):
        for i, phrase in enumerate(e.phrases):
            if boxes[i] is None:
                continue
            if masks[i] is None:
                yield absent(f"mask{suffix}", i, f"{phrase!r}{where} has no mask.")
                continue
            x0, y0, x1, y1 = box_places(boxes[i], masks[i].shape)
            inside = masks[i][y0:y1, x0:x1]
            share, filled = inside.sum() / masks[i].sum(), inside.mean()
            sentence = f"{share:.0%} of the mask of {phrase!r}{where} lies in its box."
            yield at_least(f"mask_in_box{suffix}", i, share, t.mask_in_box, sentence)
            sentence = f"the mask of {phrase!r}{where} fills {filled:.0%} of its box."
            yield at_least(f"mask{suffix}", i, filled, t.mask_fills_box, sentence)
    worst = 0.0
    there = [mask for mask in e.masks if mask is not None]
    for i, first in enumerate(there):
        for second in there[i + 1 :]:
            worst = max(worst, (first & second).sum() / (first | second).sum())
    if len(there) > 1:
        sentence = f"two masks of the target share {worst:.0%} of their union."
        yield at_most("mask_overlap", None, worst, t.mask_overlap, sentence)


def keypoint_findings(e: Evidence, t: Thresholds) -> Iterator[Finding]:
    target, alone = seen(e.keypoints, t), seen(e.keypoints_alone, t)
    inside = inside_own_mask(e.keypoints, e.masks, e.boxes, t)
    inside_alone = inside_own_mask(e.keypoints_alone, e.masks_alone, e.boxes_alone, t)
    for suffix, points, places in (("", target, inside), ("_alone", alone, inside_alone)):
        for i, phrase in enumerate(e.phrases):
            if points[i].any():
                share = (points[i] & places[i]).sum() / points[i].sum()
                sentence = f"{share:.0%} of the seen keypoints of {phrase!r}{suffix and ' alone'} lie in its mask."
                yield at_least(f"keypoints_inside{suffix}", i, share, t.keypoints_inside, sentence)
    if len(e.phrases) > 1 and all(mask is not None for mask in e.masks) and target.any():
        points = torch.cat([e.keypoints[..., :2], target[..., None].float()], dim=-1)
        lead, _ = assignment_lead([torch.as_tensor(mask.copy()) for mask in e.masks], points)
        word = "are another object's" if lead <= -t.keypoint_lead else "cannot be told from another order's"
        sentence = "keypoints are in their own objects' places." if lead >= t.keypoint_lead else f"keypoints {word}."
        yield at_least("keypoint_place", None, lead, t.keypoint_lead, sentence)
    for i, phrase in enumerate(e.phrases):
        if e.boxes[i] is None or e.boxes_alone[i] is None:
            continue  # where nobody is found nothing is seen: the box is the reason
        count = int((target[i] & inside[i]).sum())
        sentence = f"{count} keypoints of {phrase!r} are seen in the target."
        yield at_least("target_keypoints", i, count, t.target_keypoints, sentence)
        shared = int((target[i] & inside[i] & alone[i] & inside_alone[i]).sum())
        sentence = f"{shared} keypoints of {phrase!r} are seen in both pictures."
        yield at_least("shared_keypoints", i, shared, t.shared_keypoints, sentence)


def identity_findings(e: Evidence, t: Thresholds) -> Iterator[Finding]:
    """Same individual, and another pose."""
    for i, phrase in enumerate(e.phrases):
        row = None if e.similarity is None else e.similarity[i]
        own = None if row is None else row[i]
        if own is not None:
            yield at_least("identity", i, own, t.identity, f"{phrase!r} is alike to its own picture by {own:.2f}.")
            others = [value for j, value in enumerate(row) if j != i and value is not None]
            if others:
                margin = own - max(others)
                sentence = f"its picture is alike to {phrase!r} by {margin:+.2f} more than to another object."
                yield at_least("identity_margin", i, margin, t.identity_margin, sentence)
        if e.pixels[i] is None:
            continue
        same_pixels, distance = e.pixels[i] < t.copy_pixels, pose_distance(e, i, t)
        # Without features the pixels alone decide.
        same_features = own is None or own > t.copy_similarity
        same_pose = own is not None and distance is not None and distance < t.copy_keypoints
        passed = not (same_features and (same_pixels or same_pose))
        by = f"{e.pixels[i]:.3f} in pixels" + ("" if distance is None else f", {distance:.3f} in keypoints")
        word = "differ" if passed else "hardly differ (a copy teaches to copy and paste)"
        sentence = f"the two pictures of {phrase!r} {word}: by {by}."
        yield Finding("another_pose", i, e.pixels[i], t.copy_pixels, passed, sentence)


def pose_distance(e: Evidence, i: int, t: Thresholds) -> float | None:
    """Mean distance of an object's shared seen keypoints, in units of its own boxes; None when too few are shared."""
    if e.boxes[i] is None or e.boxes_alone[i] is None:
        return None
    both = seen(e.keypoints, t)[i] & seen(e.keypoints_alone, t)[i]
    if both.sum() < t.shared_keypoints:
        return None
    places = []
    for points, box in ((e.keypoints[i], e.boxes[i]), (e.keypoints_alone[i], e.boxes_alone[i])):
        corner, size = torch.tensor(box[:2]), torch.tensor(box[2:]) - torch.tensor(box[:2])
        places.append((points[both, :2] - corner) / size)
    return float((places[0] - places[1]).norm(dim=-1).mean())


def relation_findings(e: Evidence, t: Thresholds) -> Iterator[Finding]:
    target, alone = e.relation
    if target is not None:
        yield at_least("relation", None, target, t.relation_yes, f"the target shows the relation: P(Yes) {target:.2f}.")
    for i, value in enumerate(alone):
        if value is not None:
            sentence = f"the picture of {e.phrases[i]!r} alone shows the relation: P(Yes) {value:.2f}."
            yield at_most("relation_alone", i, value, t.relation_no, sentence)
