"""Stage find: one box for each phrase, in the target and in its object's own picture."""

import itertools
from collections.abc import Sequence

from ...vision.detectors import overlap
from ..annotators import Box, BoxFinder
from ..engine.candidates import Candidate
from .stage import A, Stage

# Boxes of a phrase that are looked at when objects are told apart: with four objects 5⁴ ways to choose.
MOST_BOXES = 5
# Above this intersection over union two phrases' boxes are one object: `without_copies` calls boxes copies above it.
SAME_OBJECT = 0.7

Scored = Sequence[float]  # x0, y0, x1, y1, score


class Find(Stage[BoxFinder]):
    """{"target": boxes of each phrase, best first; "objects": of each object's picture; "taken": which of them}."""

    name = "find"

    def record(self, candidate: Candidate) -> dict:
        target = self.work.picture(candidate.target)
        in_target = [self._found(target, phrase) for phrase in candidate.phrases]
        alone = [
            self._found(self.work.picture(digest), phrase)
            for digest, phrase in zip(candidate.objects, candidate.phrases)
        ]
        taken = {"target": taken_boxes(in_target), "objects": [0 if boxes else None for boxes in alone]}
        return {"target": in_target, "objects": alone, "taken": taken}

    def _found(self, picture, phrase: str) -> list[list[float]]:
        return [[*map(float, box), float(score)] for box, score in self.annotator.find(picture, phrase)]


def taken_boxes(found: Sequence[Sequence[Scored]]) -> list[int | None]:
    """Which box each phrase takes, so that no two take one object.

        max over choices of Σ scores, among those that give a box to as many phrases as possible

    A detector that is asked for a dog also finds the fox: the phrase "fox" has a better claim to it.

    Args:
        found: boxes of each phrase, best first.
    Returns:
        For each phrase the number of its box, None when none is left for it.
    """
    choices = [[*range(min(len(boxes), MOST_BOXES)), None] for boxes in found]
    best, best_score = (None,) * len(found), (-1, 0.0)
    for order in itertools.product(*choices):
        boxes = [found[i][k] for i, k in enumerate(order) if k is not None]
        if any(overlap(a[:4], b[:4]) > SAME_OBJECT for a, b in itertools.combinations(boxes, 2)):
            continue
        score = len(boxes), sum(box[4] for box in boxes)
        if score > best_score:
            best, best_score = order, score
    return list(best)


class ReadsBoxes(Stage[A]):
    """A stage that looks into the boxes that hold: those that find took, or what a reviewer made of them."""

    reads = ("find",)

    def settings(self, candidate: Candidate) -> object:
        return self.boxes(candidate)

    def boxes(self, candidate: Candidate) -> dict[str, list[Box | None]]:
        """{"target", "objects"}: one box or None for each phrase.

        Raises:
            ValueError: the review exchanged objects of which there are not two, or gave another number of boxes.
        """
        found, decision = self.record_of("find", candidate), self.decision(candidate)
        places = {
            part: [None if k is None else tuple(boxes[k][:4]) for boxes, k in zip(found[part], found["taken"][part])]
            for part in ("target", "objects")
        }
        count = len(candidate.phrases)
        if decision.exchanged:
            if count != 2:
                raise ValueError(f"candidate {candidate.id}: `exchanged` is for two objects, it has {count}.")
            places["target"].reverse()
        if decision.boxes is not None:
            if len(decision.boxes) != count:
                raise ValueError(
                    f"candidate {candidate.id}: the review's `boxes` must be one per phrase ({count}), got "
                    f"{len(decision.boxes)}."
                )
            places["target"] = [tuple(box) for box in decision.boxes]
        return places
