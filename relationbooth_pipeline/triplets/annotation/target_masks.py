"""Masks of objects in targets that have no objects of their own yet: stages find and segment, ahead of the others."""

from collections.abc import Sequence

from ..annotators import BoxFinder, Choice, Segmenter
from ..engine.candidates import Candidate
from ..engine.work_folder import WorkFolder
from .find import Find
from .segment import Segment
from .stage import Told


class TargetMasks:
    """An `engine.crops.MaskFinder`: two phrases never take one object, as later.

    Attributes:
        checkpoint: which weights; known before any load.
    """

    def __init__(self, work: WorkFolder, boxes: Choice[BoxFinder], masks: Choice[Segmenter], told: Told):
        self.work, self.boxes, self.masks, self.told = work, boxes, masks, told
        self.checkpoint = f"{boxes.checkpoint}; {masks.checkpoint}"

    def __call__(self, candidates: Sequence[Candidate]) -> dict[str, list[str | None]]:
        """Digest of each phrase's mask in the target by candidate id; None for an object that is not found."""
        Find(self.work, self.boxes).run(candidates, self.told)
        Segment(self.work, self.masks).run(candidates, self.told)
        return {candidate.id: self.work.record("segment", candidate.id)["target"] for candidate in candidates}
