"""Keypoints by ViTPose: `vitpose:`."""

from collections.abc import Sequence

import torch
from PIL import Image

from ...vision.checkpoints import checkpoint_of
from ...vision.poses import PoseEstimator, check_pose_model, head_order
from .annotator import Box, Choice, KeypointFinder


class ViTPoseFinder(KeypointFinder):
    """All boxes of a picture in one pass; the order is that of the model's head."""

    def __init__(self, source: str, device: str):
        self.model = PoseEstimator(source, device)
        self.checkpoint, self.keypoint_order = self.model.checkpoint, self.model.keypoint_order

    def keypoints(self, image: Image.Image, box: Box, phrase: str) -> torch.Tensor:
        return self.keypoints_all(image, [box], [phrase])[0]

    def keypoints_all(self, image: Image.Image, boxes: Sequence[Box], phrases: Sequence[str]) -> list[torch.Tensor]:
        return list(self.model.keypoints(image, boxes))

    def free(self) -> None:
        del self.model


def choose_vitpose(prefix: str, source: str, device: str) -> Choice[KeypointFinder]:
    """A ViTPose with 17 keypoints in an order that we know."""
    from transformers import AutoConfig

    check_pose_model(source)
    order = head_order(AutoConfig.from_pretrained(source))
    name = f"{checkpoint_of(source)}, {order}"
    return Choice(f"{prefix}:{source}", name, lambda: ViTPoseFinder(source, device), keypoint_order=order)
