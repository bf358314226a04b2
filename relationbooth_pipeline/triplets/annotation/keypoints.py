"""Stage keypoints: 17 points of the object in each box, all found by one head."""

import torch

from ..annotators import KeypointFinder
from ..engine.candidates import Candidate
from ..triplet import KEYPOINT_COUNT, KEYPOINT_ORDERS
from .find import ReadsBoxes


class Keypoints(ReadsBoxes[KeypointFinder]):
    """{"target", "objects": N × 17 × [x, y, score]; "order"}. Without a finder all are unseen and the order is null."""

    name = "keypoints"

    def record(self, candidate: Candidate) -> dict:
        boxes, count = self.boxes(candidate), len(candidate.phrases)
        if self.annotator is None:
            nothing = torch.zeros(count, KEYPOINT_COUNT, 3).tolist()
            return {"boxes": boxes, "target": nothing, "objects": nothing, "order": None}
        order = self.annotator.keypoint_order
        if order not in KEYPOINT_ORDERS:
            raise ValueError(
                f"`{self.choice.name}` has the keypoint order {order!r}; triplets have {' or '.join(KEYPOINT_ORDERS)}."
            )
        target = self._points(candidate.target, boxes["target"], candidate.phrases)
        alone = [
            self._points(digest, [box], [phrase])[0]
            for digest, box, phrase in zip(candidate.objects, boxes["objects"], candidate.phrases)
        ]
        return {"boxes": boxes, "target": target, "objects": alone, "order": order}

    def _points(self, digest: str, boxes, phrases) -> list:
        there = [i for i, box in enumerate(boxes) if box is not None]
        points = torch.zeros(len(boxes), KEYPOINT_COUNT, 3)
        if there:
            picture = self.work.picture(digest)
            found = self.annotator.keypoints_all(picture, [boxes[i] for i in there], [phrases[i] for i in there])
            for i, one in zip(there, found):
                points[i] = torch.as_tensor(one, dtype=torch.float32).reshape(KEYPOINT_COUNT, 3)
        return points.tolist()
