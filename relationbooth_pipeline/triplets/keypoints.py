"""Whether a triplet's keypoints are listed in their own object's place, told by the masks."""

import itertools

import torch

from ..relation_images import read_mask
from .triplet import Triplet

SWAP_MARGIN = 0.1  # mean share of keypoints by which one assignment must beat the other to be called clear


def keypoint_verdict(masks: list[torch.Tensor], keypoints: torch.Tensor) -> tuple[str, tuple[int, ...]]:
    """Whether each object's target keypoints lie in its own mask rather than in another's, by `assignment_lead`.

    Args:
        masks: bool (H, W) per object.
        keypoints: (N, K, 3).
    Returns:
        ("right" | "swapped" | "undecidable", order): `keypoints[order]` is the best assignment; a swap is called only
        when it beats the listed order by `SWAP_MARGIN`.
    """
    listed = tuple(range(len(masks)))
    lead, best_other = assignment_lead(masks, keypoints)
    if lead <= -SWAP_MARGIN:
        return "swapped", best_other
    return ("right" if len(masks) == 1 or lead >= SWAP_MARGIN else "undecidable"), listed


def assignment_lead(masks: list[torch.Tensor], keypoints: torch.Tensor) -> tuple[float, tuple[int, ...]]:
    """By how much the listed order of objects beats the best other one, and that one.

    Whole assignments are compared, since masks may be filled boxes that overlap by half: the score of an assignment
    is the mean share of visible keypoints inside the mask they are assigned to.

    Args:
        masks: bool (H, W) per object.
        keypoints: (N, K, 3).
    Returns:
        (score of the listed order − that of the best other one, in [−1, 1]; the other one). One object has no other.
    """
    count = len(masks)
    shares = torch.zeros(count, count)  # keypoints of object i inside mask j
    for i, points in enumerate(keypoints):
        visible = points[points[:, 2] > 0]
        for j, mask in enumerate(masks):
            size = torch.tensor([mask.shape[1], mask.shape[0]])
            column, row = (visible[:, :2] * size).long().minimum(size - 1).unbind(-1)
            shares[i, j] = mask[row, column].float().mean() if len(visible) else 0.0
    listed = tuple(range(count))
    scores = {
        order: torch.stack([shares[i, j] for j, i in enumerate(order)]).mean().item()
        for order in itertools.permutations(listed)
    }
    best_other = max((order for order in scores if order != listed), key=scores.get, default=listed)
    return scores[listed] - scores[best_other], best_other


def check_assignments(triplets: list[Triplet]) -> list[tuple[str, tuple[int, ...]]]:
    """`keypoint_verdict` of every triplet; "undecidable" without masks."""
    verdicts = []
    for triplet in triplets:
        if triplet.masks is None:
            verdicts.append(("undecidable", tuple(range(len(triplet.phrases)))))
        else:
            verdicts.append(keypoint_verdict([read_mask(file) for file in triplet.masks], triplet.keypoints))
    return verdicts


def repair_assignments(triplets: list[Triplet]) -> list[Triplet]:
    """The triplets with clearly swapped target keypoints put in their own object's place."""
    for triplet, (verdict, order) in zip(triplets, check_assignments(triplets)):
        if verdict == "swapped":
            triplet.keypoints = triplet.keypoints[list(order)]
    return triplets


def refuse_swapped(triplets: list[Triplet], remedy: str) -> None:
    """Raise a ValueError when target keypoints are clearly listed in another object's place.

    Args:
        remedy: the next step, for the message.
    """
    swapped = [t.name for t, (verdict, _) in zip(triplets, check_assignments(triplets)) if verdict == "swapped"]
    if swapped:
        raise ValueError(f"the keypoints of {', '.join(swapped)} are listed in another object's place. {remedy}")
