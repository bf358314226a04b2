"""Where a phrase's objects are in a picture: detectors of transformers, and what is done with their boxes."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from PIL import Image

from .checkpoints import checkpoint_name
from .pictures import picture_digest

THRESHOLDS = {"owlv2": 0.1, "grounding-dino": 0.25, "mm-grounding-dino": 0.25}  # transformers' own defaults
Box = tuple[float, float, float, float]


@dataclass(frozen=True)
class Found:
    """A box, XYXY in [0, 1], and the detector's score."""

    box: Box
    score: float


class Detector:
    """OWLv2 or Grounding DINO, one phrase a call (their labels merge across phrases); found once a picture."""

    def __init__(self, source: str, device: str = "cpu", threshold: float | None = None):
        from transformers import AutoConfig, AutoModelForZeroShotObjectDetection, AutoProcessor

        self.kind = AutoConfig.from_pretrained(source).model_type
        self.model = AutoModelForZeroShotObjectDetection.from_pretrained(source).eval().to(device)
        self.processor = AutoProcessor.from_pretrained(source)
        self.threshold = THRESHOLDS[self.kind] if threshold is None else threshold
        self.checkpoint = f"{checkpoint_name(source, self.model)}, score ≥ {self.threshold}"
        self._seen: dict[tuple[str, str], list[Found]] = {}

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
