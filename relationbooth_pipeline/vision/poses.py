"""The 17 keypoints of the objects in given boxes: ViTPose of transformers, with the order of its head recorded."""

import importlib.util
from collections.abc import Sequence

import torch
from PIL import Image

from .checkpoints import check_kind, checkpoint_name
from .detectors import Box
from .segmenters import in_pixels

VITPOSE_KINDS = ("vitpose",)
KEYPOINT_COUNT = 17
# Config field that `pose_conversion` writes. The backbone's experts by order: ViTPose++ was trained on COCO, AiC,
# MPII, AP-10K, APT-36K, WholeBody in this order, and so are its experts numbered.
ORDER_FIELD = "keypoint_order"
EXPERTS = {"COCO": 0, "AP-10K": 3}


class PoseEstimator:
    """ViTPose: keypoints in the order that its config names; COCO where it names none, as all released ones are.

    Released conversions of ViTPose++ hold the human head only: their experts for animals would feed a human head, and
    nothing would fail. So the animal experts act only where the config says that the head is the animals' too.
    """

    def __init__(self, source: str, device: str = "cpu"):
        from transformers import AutoImageProcessor, VitPoseForPoseEstimation

        self.model = VitPoseForPoseEstimation.from_pretrained(source).eval().to(device)
        self.processor = AutoImageProcessor.from_pretrained(source, backend="pil")
        self.keypoint_order = head_order(self.model.config)
        self.checkpoint = f"{checkpoint_name(source, self.model)}, {self.keypoint_order}"

    @torch.no_grad()
    def keypoints(self, picture: Image.Image, boxes: Sequence[Box]) -> torch.Tensor:
        """Keypoints of the object in each box, all boxes of the picture in one pass.

        Args:
            boxes: N boxes, XYXY in [0, 1].
        Returns:
            float32, (N, 17, 3): x, y in units of the picture's sides (they may lie outside [0, 1]) and the heatmap's
            maximum, which is no probability.
        """
        corners = in_pixels(picture, boxes)
        # COCO's boxes: corner, width, height
        boxes_in = [[[x0, y0, x1 - x0, y1 - y0] for x0, y0, x1, y1 in corners]]
        inputs = self.processor(picture, boxes=boxes_in, return_tensors="pt").to(self.model.device)
        if self.model.config.backbone_config.num_experts > 1:
            inputs["dataset_index"] = torch.full((len(boxes),), EXPERTS[self.keypoint_order]).to(self.model.device)
        # No threshold: it would drop rows. The boxes that come back are garbage, so ours are kept.
        found = self.processor.post_process_pose_estimation(self.model(**inputs), boxes=boxes_in, threshold=None)[0]
        points = torch.stack([entry["keypoints"] for entry in found]).float().cpu()
        scores = torch.stack([entry["scores"] for entry in found]).float().cpu()
        return torch.cat([points / torch.tensor(picture.size), scores.reshape(*points.shape[:2], 1)], dim=-1)


def head_order(config: object) -> str:
    """Order of the keypoints of a model's head, as its config names it; "COCO" where it names none."""
    return getattr(config, ORDER_FIELD, None) or "COCO"


def check_pose_model(source: str) -> None:
    """Raise a ValueError unless `source` is a ViTPose with 17 keypoints in an order that we know; no weights load."""
    from transformers import AutoConfig

    check_kind(source, VITPOSE_KINDS, "vitpose")
    config = AutoConfig.from_pretrained(source)
    if config.num_labels != KEYPOINT_COUNT:
        raise ValueError(
            f"`vitpose`: `{source}` has {config.num_labels} keypoints; triplets have {KEYPOINT_COUNT}. Take a head of "
            f"{', '.join(EXPERTS)}."
        )
    if head_order(config) not in EXPERTS:
        raise ValueError(
            f"`vitpose`: the config of `{source}` names the order {head_order(config)!r}; known are "
            f"{', '.join(EXPERTS)}."
        )
    if importlib.util.find_spec("scipy") is None:
        raise ValueError("`vitpose` needs the package scipy: `pip install 'relationbooth[data]'`.")
