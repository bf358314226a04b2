"""One training sample of a relation, and the error that tells all faults of a folder."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

KEYPOINT_ORDERS = ("AP-10K", "COCO")  # of the same 17 points' lists: never match keypoints across orders
KEYPOINT_COUNT = 17
METADATA = "metadata.jsonl"


@dataclass
class Triplet:
    """One training sample of a relation.

    Shapes: N objects, K = 17 keypoints.

    Attributes:
        name: where it stands in the folder, for messages.
        image: the target image's file.
        image_prompts: files of the N objects, in other poses than in the target.
        prompt, phrases, predicate: phrases and predicate stand in the prompt as whole words, in any case.
        boxes: (N, 4), XYXY in [0, 1].
        masks: files of the N objects' masks in the target, of the target's size; None without masks.
        keypoints: of each object in the target, (N, K, 3): x, y in [0, 1], and 1 when visible.
        image_prompt_keypoints: in the image prompts, in the same order of points.
        keypoint_order: name of that order.
        others: fields of other programs, as JSON reads them.
    """

    name: str
    image: Path
    image_prompts: list[Path]
    prompt: str
    phrases: list[str]
    predicate: str
    boxes: torch.Tensor
    masks: list[Path] | None
    keypoints: torch.Tensor
    image_prompt_keypoints: torch.Tensor
    keypoint_order: str = KEYPOINT_ORDERS[0]
    others: dict[str, Any] = field(default_factory=dict)

    @property
    def files(self) -> list[Path]:
        """Target, image prompts and masks."""
        found = [self.image, *(self.image_prompts or []), *(self.masks or [])]
        return [file for file in found if file is not None]


class TripletError(ValueError):
    """All faults of a folder.

    Attributes:
        faults: one line each.
        readable: the folder's triplets without a fault.
        faulty: the others; attributes that could not be read are None.
    """

    def __init__(self, faults: list[str], readable: list[Triplet] | None = None, faulty: list[Triplet] | None = None):
        self.faults, self.readable, self.faulty = faults, readable or [], faulty or []
        super().__init__("\n".join(faults))
