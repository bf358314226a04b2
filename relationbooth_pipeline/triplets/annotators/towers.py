"""Likeness of individuals by a DINO or CLIP tower: `dino:` and `clip:`."""

from collections.abc import Sequence

import torch
from PIL import Image

from ...vision.towers import Tower, clip_tower, dino_tower, tower_checkpoint
from .annotator import Choice, Likeness


class TowerLikeness(Likeness):
    """Features of a tower, all pictures in one pass."""

    def __init__(self, tower: Tower):
        self.tower, self.checkpoint = tower, tower.checkpoint

    def features(self, images: Sequence[Image.Image]) -> torch.Tensor:
        return self.tower.image_features(images)

    def free(self) -> None:
        del self.tower


def choose_tower(prefix: str, source: str, device: str) -> Choice[Likeness]:
    make = (dino_tower if prefix == "dino" else clip_tower)(source, device)
    return Choice(f"{prefix}:{source}", tower_checkpoint(prefix, source), lambda: TowerLikeness(make()))
