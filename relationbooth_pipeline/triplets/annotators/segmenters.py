"""Masks by SAM and SAM 2: `sam:` and `sam2:`."""

from collections.abc import Sequence

import torch
from PIL import Image

from ...vision.checkpoints import check_kind, checkpoint_of
from ...vision.segmenters import SAM_2_KINDS, SAM_KINDS, Sam, Sam2, check_torchvision
from .annotator import Box, Choice, Segmenter


class SamSegmenter(Segmenter):
    """All boxes of a picture in one pass."""

    def __init__(self, model: Sam | Sam2):
        self.model, self.checkpoint = model, model.checkpoint

    def segment(self, image: Image.Image, box: Box, phrase: str) -> torch.Tensor:
        return self.segment_all(image, [box], [phrase])[0]

    def segment_all(self, image: Image.Image, boxes: Sequence[Box], phrases: Sequence[str]) -> list[torch.Tensor]:
        return list(self.model.masks(image, boxes))

    def free(self) -> None:
        del self.model


def choose_sam(prefix: str, source: str, device: str) -> Choice[Segmenter]:
    """SAM, or SAM 2 where torchvision is."""
    model, kinds = (Sam, SAM_KINDS) if prefix == "sam" else (Sam2, SAM_2_KINDS)
    if model is Sam2:
        check_torchvision(f"{prefix}:{source}")
    check_kind(source, kinds, prefix)
    return Choice(f"{prefix}:{source}", checkpoint_of(source), lambda: SamSegmenter(model(source, device)))
