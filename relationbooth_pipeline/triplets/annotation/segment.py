"""Stage segment: the pixels of the object in each box."""

import numpy as np

from ..annotators import Segmenter
from ..engine.candidates import Candidate
from .find import ReadsBoxes


class Segment(ReadsBoxes[Segmenter]):
    """{"boxes": those that were looked into; "target", "objects": a mask's digest or null for each phrase}."""

    name = "segment"

    def record(self, candidate: Candidate) -> dict:
        boxes = self.boxes(candidate)
        target = self._masks(candidate.target, boxes["target"], candidate.phrases)
        alone = [
            self._masks(digest, [box], [phrase])[0]
            for digest, box, phrase in zip(candidate.objects, boxes["objects"], candidate.phrases)
        ]
        return {"boxes": boxes, "target": target, "objects": alone}

    def _masks(self, digest: str, boxes, phrases) -> list[str | None]:
        there = [i for i, box in enumerate(boxes) if box is not None]
        kept: list[str | None] = [None] * len(boxes)
        if not there:
            return kept
        picture = self.work.picture(digest)
        masks = self.annotator.segment_all(picture, [boxes[i] for i in there], [phrases[i] for i in there])
        for i, mask in zip(there, masks):
            inside = np.asarray(mask, dtype=bool)
            if inside.shape != (picture.height, picture.width):
                raise ValueError(
                    f"`{self.choice.name}` gave a mask of shape {inside.shape} for a picture of "
                    f"{picture.height}×{picture.width} (height × width)."
                )
            kept[i] = self.work.keep_mask(inside) if inside.any() else None
        return kept
