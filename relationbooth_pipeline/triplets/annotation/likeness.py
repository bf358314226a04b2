"""Stage likeness: how alike each object's picture is to itself and to the others in the target, and whether a copy."""

import numpy as np
import torch
from PIL import Image

from ...vision.detectors import crop
from ..annotators import Likeness
from ..engine.candidates import Candidate
from .stage import Stage

PIXELS = 64  # side of the squares that are compared pixel by pixel: detail below a sixty-fourth says nothing


class LikenessStage(Stage[Likeness]):
    """{"similarity": N × N, cosine of object i's picture and object j in the target, null without a model or where one
    is missing; "pixels": mean absolute difference in [0, 1] of each object's two crops}."""

    name = "likeness"
    reads = ("segment",)

    def record(self, candidate: Candidate) -> dict:
        segmented = self.record_of("segment", candidate)
        target = self.work.picture(candidate.target)
        inside = [self._cut(target, digest) for digest in segmented["target"]]
        alone = [
            self._cut(self.work.picture(picture), digest)
            for picture, digest in zip(candidate.objects, segmented["objects"])
        ]
        return {"similarity": self._similarity(alone, inside), "pixels": list(map(difference, alone, inside))}

    def _cut(self, picture: Image.Image, mask: str | None) -> Image.Image | None:
        return None if mask is None else cut_out(picture, self.work.mask(mask))

    def _similarity(self, alone: list, inside: list) -> list[list[float | None]] | None:
        if self.annotator is None:
            return None
        there = [image for image in (*alone, *inside) if image is not None]
        if not there:
            return [[None] * len(inside) for _ in alone]
        features = iter(torch.nn.functional.normalize(self.annotator.features(there).float(), dim=-1))
        rows = [None if image is None else next(features) for image in (*alone, *inside)]
        prompts, targets = rows[: len(alone)], rows[len(alone) :]
        return [[None if a is None or b is None else float(a @ b) for b in targets] for a in prompts]


def cut_out(picture: Image.Image, mask: np.ndarray) -> Image.Image:
    """An object alone: its pixels on a white square around its mask."""
    pixels = np.where(mask[..., None], np.asarray(picture), 255).astype(np.uint8)
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    height, width = mask.shape
    box = columns[0] / width, rows[0] / height, (columns[-1] + 1) / width, (rows[-1] + 1) / height
    return crop(Image.fromarray(pixels), box)


def difference(first: Image.Image | None, second: Image.Image | None) -> float | None:
    """Mean absolute difference of two pictures in [0, 1], both as squares of `PIXELS`."""
    if first is None or second is None:
        return None
    a, b = (
        np.asarray(image.resize((PIXELS, PIXELS), Image.Resampling.BICUBIC), dtype=float) for image in (first, second)
    )
    return float(np.abs(a - b).mean() / 255)
