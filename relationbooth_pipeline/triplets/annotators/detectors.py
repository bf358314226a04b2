"""Boxes by a zero-shot detector of transformers: `owlv2:` and `grounding-dino:`."""

from PIL import Image

from ...vision.checkpoints import check_kind, checkpoint_of
from ...vision.detectors import THRESHOLDS, Detector
from .annotator import Box, BoxFinder, Choice


class DetectorFinder(BoxFinder):
    """OWLv2 or Grounding DINO, one phrase a call."""

    def __init__(self, source: str, device: str):
        self.detector = Detector(source, device)
        self.checkpoint = self.detector.checkpoint

    def find(self, image: Image.Image, phrase: str) -> list[tuple[Box, float]]:
        return [(found.box, found.score) for found in self.detector.boxes(image, phrase)]

    def free(self) -> None:
        del self.detector


def choose_detector(prefix: str, source: str, device: str) -> Choice[BoxFinder]:
    """A detector whose config says that it is of the kind that its prefix names."""
    kinds = ("owlv2",) if prefix == "owlv2" else tuple(kind for kind in THRESHOLDS if kind.endswith("grounding-dino"))
    check_kind(source, kinds, prefix)
    return Choice(f"{prefix}:{source}", checkpoint_of(source), lambda: DetectorFinder(source, device))
