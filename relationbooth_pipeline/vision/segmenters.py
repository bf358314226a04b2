"""The pixels of the objects in given boxes: SAM and SAM 2 of transformers."""

from collections.abc import Sequence

import torch
from PIL import Image

from .checkpoints import checkpoint_name
from .detectors import Box

SAM_KINDS, SAM_2_KINDS = ("sam",), ("sam2",)


class Sam:
    """SAM, prompted with a box; needs no torchvision."""

    def __init__(self, source: str, device: str = "cpu"):
        from transformers import SamImageProcessorPil, SamModel, SamProcessor

        self.model = SamModel.from_pretrained(source).eval().to(device)
        self.processor = SamProcessor(SamImageProcessorPil.from_pretrained(source))
        self.checkpoint = checkpoint_name(source, self.model)

    @torch.no_grad()
    def masks(self, picture: Image.Image, boxes: Sequence[Box]) -> torch.Tensor:
        """One mask for each box, all boxes of the picture in one pass.

        Args:
            boxes: N boxes, XYXY in [0, 1].
        Returns:
            bool, (N, H, W), of the picture's size.
        """
        inputs = self.processor(picture, input_boxes=[in_pixels(picture, boxes)], return_tensors="pt")
        sizes = inputs.pop("original_sizes"), inputs.pop("reshaped_input_sizes")
        # the model reads boxes in its own dtype, the processor gives float64
        inputs["input_boxes"] = inputs["input_boxes"].to(inputs["pixel_values"].dtype)
        output = self.model(**inputs.to(self.model.device), multimask_output=False)
        processor = self.processor.image_processor
        return processor.post_process_masks(output.pred_masks.cpu(), *sizes, pad_size=processor.pad_size)[0][:, 0]


class Sam2:
    """SAM 2, prompted with a box; its processor needs torchvision (see `check_torchvision`)."""

    def __init__(self, source: str, device: str = "cpu"):
        from transformers import Sam2Model, Sam2Processor

        self.model = Sam2Model.from_pretrained(source).eval().to(device)
        self.processor = Sam2Processor.from_pretrained(source)
        self.checkpoint = checkpoint_name(source, self.model)

    @torch.no_grad()
    def masks(self, picture: Image.Image, boxes: Sequence[Box]) -> torch.Tensor:
        """As `Sam.masks`."""
        inputs = self.processor(picture, input_boxes=[in_pixels(picture, boxes)], return_tensors="pt")
        output = self.model(**inputs.to(self.model.device), multimask_output=False)
        return self.processor.post_process_masks(output.pred_masks.cpu(), inputs["original_sizes"].cpu())[0][:, 0]


def in_pixels(picture: Image.Image, boxes: Sequence[Box]) -> list[list[float]]:
    """XYXY boxes in [0, 1] → in pixels of the picture."""
    return [[value * side for value, side in zip(box, picture.size * 2)] for box in boxes]


def check_torchvision(needed_by: str) -> None:
    """Raise a ValueError that says what to install unless torchvision works here."""
    try:
        import torchvision  # noqa: F401
    except (ImportError, RuntimeError) as error:  # RuntimeError: built for another torch
        raise ValueError(
            f"`{needed_by}` needs torchvision, which does not load here ({error}). Install the build that fits torch "
            f"{torch.__version__}, or take a SAM (`sam:facebook/sam-vit-base`), which needs none."
        ) from error
