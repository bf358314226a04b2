"""SAM 2 on a tiny real build, where torchvision, which its processor needs, works."""

import pytest
import torch

from relationbooth_pipeline.triplets.annotators import choose
from relationbooth_pipeline.vision.segmenters import check_torchvision, in_pixels
from tests.tiny import photo

try:
    check_torchvision("sam2")
except ValueError as error:
    pytest.skip(str(error), allow_module_level=True)

from transformers import (
    Sam2Config,
    Sam2HieraDetConfig,
    Sam2ImageProcessor,
    Sam2MaskDecoderConfig,
    Sam2Model,
    Sam2Processor,
    Sam2PromptEncoderConfig,
    Sam2VisionConfig,
)

BOXES, SIDE = [(0.1, 0.2, 0.6, 0.9), (0.4, 0.0, 1.0, 0.5)], 128


@pytest.fixture(scope="module")
def sam_2(tmp_path_factory):
    torch.manual_seed(4)
    folder = tmp_path_factory.mktemp("models") / "sam_2"
    backbone = Sam2HieraDetConfig(
        hidden_size=16, image_size=[SIDE, SIDE], blocks_per_stage=[1, 1, 2, 1], embed_dim_per_stage=[16, 32, 64, 128],
        num_attention_heads_per_stage=[1] * 4, window_size_per_stage=[8, 4, 14, 7], global_attention_blocks=[3],
    )  # fmt: skip
    vision = Sam2VisionConfig(
        backbone_config=backbone, backbone_channel_list=[128, 64, 32, 16], fpn_hidden_size=32,
        backbone_feature_sizes=[[32, 32], [16, 16], [8, 8]],
    )  # fmt: skip
    prompt = Sam2PromptEncoderConfig(hidden_size=32, image_size=SIDE, patch_size=16, mask_input_channels=4)
    decoder = Sam2MaskDecoderConfig(
        hidden_size=32, mlp_dim=32, num_hidden_layers=1, num_attention_heads=2, iou_head_hidden_dim=32
    )
    config = Sam2Config(vision_config=vision, prompt_encoder_config=prompt, mask_decoder_config=decoder)
    Sam2Model(config).eval().save_pretrained(folder)
    size = {"height": SIDE, "width": SIDE}
    Sam2Processor(Sam2ImageProcessor(size=size, mask_size={"height": 32, "width": 32})).save_pretrained(folder)
    return str(folder)


def test_masks_are_the_model_s_own_at_the_picture_s_size(sam_2):
    """Against the model's logits, stretched to the picture: SAM 2 pads nothing."""
    chosen, picture = choose("masks", f"sam2:{sam_2}"), photo(size=(60, 40))
    segmenter = chosen.load()
    masks = torch.stack(segmenter.segment_all(picture, BOXES, ["cat", "dog"]))
    assert masks.shape == (2, 40, 60) and masks.dtype == torch.bool and chosen.checkpoint == segmenter.checkpoint
    inputs = segmenter.model.processor(picture, input_boxes=[in_pixels(picture, BOXES)], return_tensors="pt")
    with torch.no_grad():
        logits = segmenter.model.model(
            pixel_values=inputs["pixel_values"], input_boxes=inputs["input_boxes"].float(), multimask_output=False
        ).pred_masks[0]
    wanted = torch.nn.functional.interpolate(logits, (40, 60), mode="bilinear", align_corners=False)[:, 0] > 0
    assert torch.equal(masks, wanted) and 0 < masks.float().mean() < 1
    assert torch.equal(segmenter.segment(picture, BOXES[1], "dog"), masks[1])  # as in a pass of its own
