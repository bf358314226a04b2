"""Where the objects of a case are in its picture: found by a detector, or taken from the case's boxes."""

import itertools
from collections.abc import Callable
from typing import Protocol

from PIL import Image

from ...miniature.annotator import LEAST_SCORE, MiniatureAnnotator
from ...vision.checkpoints import check_kind
from ...vision.detectors import THRESHOLDS, Detector, Found, overlap
from ...vision.towers import MINIATURE
from ..cases import Case


class Finder(Protocol):
    """Finds each object of a case.

    Attributes:
        checkpoint: the detector, or that the case's boxes are taken. by_name: whether objects are found by their phrase
            (two of one phrase cannot be told apart) instead of by their place.
    """

    checkpoint: str
    by_name: bool

    def find(self, case: Case, picture: Image.Image) -> list[Found | None]:
        """One entry for each object; None: not found."""


class GivenBoxes:
    """The case's own boxes: for systems that were told where each object goes, and to ask who stands there."""

    checkpoint, by_name = "the case's boxes", False

    def find(self, case: Case, picture: Image.Image) -> list[Found | None]:
        if case.boxes is None:
            return [None] * len(case.phrases)
        return [Found(tuple(box), 1.0) for box in case.boxes]


class DrawnWorldDetector:
    """The drawn world's own annotator, which learned from renders alone and which no system reads."""

    def __init__(self, device: str):
        self.annotator = MiniatureAnnotator.load(device=device)
        self.checkpoint = f"miniature annotator, score ≥ {LEAST_SCORE}"

    def boxes(self, picture: Image.Image, phrase: str) -> list[Found]:
        return [Found(box, score) for box, score in self.annotator.find(picture, phrase)]


class DetectedBoxes:
    """What a detector finds of each phrase."""

    by_name = True

    def __init__(self, detector: Detector | DrawnWorldDetector):
        self.detector, self.checkpoint = detector, detector.checkpoint

    def find(self, case: Case, picture: Image.Image) -> list[Found | None]:
        """The best boxes of each phrase; several objects of one phrase share its best boxes, from left to right.

        Given boxes decide who is who among these: the assignment that overlaps most.
        """
        found: list[Found | None] = [None] * len(case.phrases)
        for phrase in dict.fromkeys(case.phrases):
            numbers = [i for i, other in enumerate(case.phrases) if other == phrase]
            best = sorted(self.detector.boxes(picture, phrase)[: len(numbers)], key=lambda f: f.box[0] + f.box[2])
            padded = best + [None] * (len(numbers) - len(best))
            if case.boxes is not None and len(numbers) > 1:
                places = [case.boxes[i] for i in numbers]
                padded = max(
                    itertools.permutations(padded),
                    key=lambda order: sum(overlap(f.box, place) for f, place in zip(order, places) if f),
                )
            for number, entry in zip(numbers, padded):
                found[number] = entry
        return found


def detector(source: str, device: str) -> Callable[[], Finder]:
    """A maker of the finder, its kind checked; "boxes": the case's own; "miniature": the drawn world's."""
    if source == "boxes":
        return GivenBoxes
    if source == MINIATURE:
        return lambda: DetectedBoxes(DrawnWorldDetector(device))
    check_kind(source, tuple(THRESHOLDS), "detector")
    return lambda: DetectedBoxes(Detector(source, device))
