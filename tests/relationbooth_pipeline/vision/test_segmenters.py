import builtins

import pytest
import torch

from relationbooth_pipeline.vision.segmenters import Sam, check_torchvision, in_pixels
from tests.tiny import photo

BOXES = [(0.1, 0.2, 0.6, 0.9), (0.4, 0.0, 1.0, 0.5)]


def test_masks_are_the_model_s_own_at_the_picture_s_size(annotators):
    """Against the model's logits, put through the picture's geometry step by step."""
    sam, picture = Sam(annotators["sam"]), photo(size=(60, 40))
    masks = sam.masks(picture, BOXES)
    assert masks.shape == (2, 40, 60) and masks.dtype == torch.bool
    inputs = sam.processor(picture, input_boxes=[in_pixels(picture, BOXES)], return_tensors="pt")
    with torch.no_grad():
        logits = sam.model(
            pixel_values=inputs["pixel_values"], input_boxes=inputs["input_boxes"].float(), multimask_output=False
        ).pred_masks[0]
    whole = torch.nn.functional.interpolate(logits, (128, 128), mode="bilinear", align_corners=False)
    height = inputs["reshaped_input_sizes"][0][0]
    assert height == round(128 * 40 / 60)  # the rest of the square is padding
    wanted = torch.nn.functional.interpolate(whole[..., :height, :], (40, 60), mode="bilinear", align_corners=False) > 0
    assert torch.equal(masks, wanted[:, 0]) and 0 < masks.float().mean() < 1


def test_boxes_of_one_pass_are_those_of_passes_of_their_own(annotators):
    sam, picture = Sam(annotators["sam"]), photo(size=(60, 40))
    together = sam.masks(picture, BOXES)
    for i, box in enumerate(BOXES):
        assert torch.equal(sam.masks(picture, [box])[0], together[i])


def test_sam_2_without_torchvision_says_what_to_install(monkeypatch):
    real = builtins.__import__

    def no_torchvision(name, *args, **kwargs):
        if name == "torchvision":
            raise ImportError("No module named 'torchvision'")
        return real(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", no_torchvision)
    with pytest.raises(ValueError, match="`sam2:x` needs torchvision.*fits torch .*or take a SAM"):
        check_torchvision("sam2:x")
