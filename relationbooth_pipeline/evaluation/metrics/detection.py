"""Where the objects of a picture are: found by a detector of transformers, or taken from the case's boxes."""

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from PIL import Image

from ..cases import Case
from .features import picture_digest
from .towers import check_kind, checkpoint_name

THRESHOLDS = {"owlv2": 0.1, "grounding-dino": 0.25, "mm-grounding-dino": 0.25}  # transformers' own defaults
Box = tuple[float, float, float, float]


@dataclass(frozen=True)
class Found:
    """A box, XYXY in [0, 1], and the detector's score."""

    box: Box
    score: float


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


class Detector:
    """OWLv2 or Grounding DINO, one phrase a call (their labels merge across phrases); found once a picture."""

    by_name = True

    def __init__(self, source: str, device: str = "cpu", threshold: float | None = None):
        from transformers import AutoConfig, AutoModelForZeroShotObjectDetection, AutoProcessor

        self.kind = AutoConfig.from_pretrained(source).model_type
        self.model = AutoModelForZeroShotObjectDetection.from_pretrained(source).eval().to(device)
        self.processor = AutoProcessor.from_pretrained(source)
        self.threshold = THRESHOLDS[self.kind] if threshold is None else threshold
        self.checkpoint = f"{checkpoint_name(source, self.model)}, score ≥ {self.threshold}"
        self._seen: dict[tuple[str, str], list[Found]] = {}

    def find(self, case: Case, picture: Image.Image) -> list[Found | None]:
        """The best boxes of each phrase; several objects of one phrase share its best boxes, from left to right.

        Given boxes decide who is who among these: the assignment that overlaps most.
        """
        found: list[Found | None] = [None] * len(case.phrases)
        for phrase in dict.fromkeys(case.phrases):
            numbers = [i for i, other in enumerate(case.phrases) if other == phrase]
            best = sorted(self.boxes(picture, phrase)[: len(numbers)], key=lambda f: f.box[0] + f.box[2])
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

    @torch.no_grad()
    def boxes(self, picture: Image.Image, phrase: str) -> list[Found]:
        """Boxes of one phrase, best first, without near copies of a better one."""
        key = (picture_digest(picture), phrase)
        if key not in self._seen:
            # Grounding DINO reads "a cat.", OWLv2 a list of queries
            text = [[f"a {phrase}"]] if self.kind == "owlv2" else [f"a {phrase}."]
            inputs = self.processor(images=[picture], text=text, return_tensors="pt").to(self.model.device)
            if self.kind == "owlv2":
                inputs.pop("token_type_ids", None)
            options = {} if self.kind == "owlv2" else {"input_ids": inputs["input_ids"]}
            result = self.processor.post_process_grounded_object_detection(
                self.model(**inputs),
                threshold=self.threshold,
                target_sizes=[(picture.height, picture.width)],
                **options,
            )[0]
            scale = torch.tensor([picture.width, picture.height] * 2)
            boxes = (result["boxes"].cpu() / scale).clamp(0, 1).tolist()  # OWLv2 pads to a square: boxes may leave
            found = [
                Found(tuple(b), s) for b, s in zip(boxes, result["scores"].tolist()) if b[0] < b[2] and b[1] < b[3]
            ]
            self._seen[key] = without_copies(sorted(found, key=lambda f: -f.score))
        return self._seen[key]


def without_copies(found: Sequence[Found], most: float = 0.7) -> list[Found]:
    """Boxes, best first, that overlap no better one by more than `most` (intersection over union)."""
    kept: list[Found] = []
    for entry in found:
        if all(overlap(entry.box, other.box) <= most for other in kept):
            kept.append(entry)
    return kept


def overlap(first: Sequence[float], second: Sequence[float]) -> float:
    """Intersection over union of two XYXY boxes."""
    width = min(first[2], second[2]) - max(first[0], second[0])
    height = min(first[3], second[3]) - max(first[1], second[1])
    both = max(0.0, width) * max(0.0, height)
    areas = sum((b[2] - b[0]) * (b[3] - b[1]) for b in (first, second))
    return both / (areas - both) if areas > both else 0.0


def crop(picture: Image.Image, box: Sequence[float]) -> Image.Image:
    """The box's part of a picture, on a white square: towers that crop the middle then lose nothing."""
    left, top = (int(v * side) for v, side in zip(box[:2], picture.size))
    right, bottom = (max(low + 1, round(v * side)) for v, side, low in zip(box[2:], picture.size, (left, top)))
    part = picture.crop((left, top, right, bottom))
    square = Image.new("RGB", (max(part.size),) * 2, "white")
    square.paste(part, ((square.width - part.width) // 2, (square.height - part.height) // 2))
    return square


def detector(source: str, device: str) -> Callable[[], Finder]:
    """A maker of the finder, its kind checked; "boxes": the case's own."""
    if source == "boxes":
        return GivenBoxes
    check_kind(source, tuple(THRESHOLDS), "detector")
    return lambda: Detector(source, device)
