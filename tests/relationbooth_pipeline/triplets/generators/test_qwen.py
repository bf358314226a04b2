"""Qwen-Image-Edit as a tiny real build draws the same object again, where torchvision works: its processor needs it."""

import pytest
import torch

from relationbooth_pipeline.triplets.generators import Request, named_generator
from relationbooth_pipeline.vision.segmenters import check_torchvision
from tests.tiny import photo

try:
    check_torchvision("qwen")
except ValueError as error:
    pytest.skip(str(error), allow_module_level=True)

from diffusers import (
    AutoencoderKLQwenImage,
    FlowMatchEulerDiscreteScheduler,
    QwenImageEditPlusPipeline,
    QwenImageTransformer2DModel,
)
from diffusers.pipelines.qwenimage import pipeline_qwenimage_edit_plus
from tokenizers import pre_tokenizers
from transformers import (
    Qwen2_5_VLConfig,
    Qwen2_5_VLForConditionalGeneration,
    Qwen2Tokenizer,
    Qwen2VLImageProcessor,
    Qwen2VLProcessor,
    Qwen2VLVideoProcessor,
)

SIZE = (64, 64)
SPECIAL = ["<|endoftext|>", "<|im_start|>", "<|im_end|>", "<|vision_start|>", "<|vision_end|>", "<|image_pad|>",
           "<|video_pad|>"]  # fmt: skip


def tiny_qwen():
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {token: number for number, token in enumerate([*letters, *SPECIAL])}
    tokenizer = Qwen2Tokenizer(vocab=vocabulary, merges=[])
    tokenizer.add_special_tokens({"additional_special_tokens": SPECIAL})
    number = tokenizer.convert_tokens_to_ids
    size = {"shortest_edge": 28 * 28, "longest_edge": 56 * 56}
    processor = Qwen2VLProcessor(
        Qwen2VLImageProcessor(size=size), tokenizer, Qwen2VLVideoProcessor(size=size), chat_template="{{ messages }}"
    )
    config = Qwen2_5_VLConfig(
        text_config={
            "hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2,
            "num_key_value_heads": 2, "vocab_size": len(tokenizer), "max_position_embeddings": 2048,
            "rope_parameters": {"rope_type": "default", "mrope_section": [1, 1, 2], "rope_theta": 1e4},
        },
        vision_config={
            "depth": 2, "hidden_size": 16, "intermediate_size": 16, "num_heads": 2, "out_hidden_size": 16,
            "fullatt_block_indexes": [1],
        },
        image_token_id=number("<|image_pad|>"), video_token_id=number("<|video_pad|>"),
        vision_start_token_id=number("<|vision_start|>"), vision_end_token_id=number("<|vision_end|>"),
    )  # fmt: skip
    torch.manual_seed(0)
    return QwenImageEditPlusPipeline(
        scheduler=FlowMatchEulerDiscreteScheduler(),
        vae=AutoencoderKLQwenImage(
            base_dim=24, z_dim=4, dim_mult=[1, 2, 4], num_res_blocks=1, temperal_downsample=[False, True],
            latents_mean=[0.0] * 4, latents_std=[1.0] * 4,
        ),
        text_encoder=Qwen2_5_VLForConditionalGeneration(config).eval(),
        tokenizer=tokenizer,
        processor=processor,
        transformer=QwenImageTransformer2DModel(
            patch_size=2, in_channels=16, out_channels=4, num_layers=2, attention_head_dim=16, num_attention_heads=3,
            joint_attention_dim=16, guidance_embeds=False, axes_dims_rope=(8, 4, 4),
        ),
    )  # fmt: skip


def test_it_edits_one_picture_or_several_and_draws_none_without(tmp_path, monkeypatch):
    for name in ("CONDITION_IMAGE_SIZE", "VAE_IMAGE_SIZE"):  # what it scales pictures to, whatever its own size is
        monkeypatch.setattr(pipeline_qwenimage_edit_plus, name, SIZE[0] * SIZE[1])
    tiny_qwen().save_pretrained(tmp_path)
    options = {"true_cfg_scale": 4.0, "negative_prompt": " ", "num_inference_steps": 2}
    editor = named_generator(f"diffusers:{tmp_path}", options, device="cpu")
    assert editor.can_edit

    def drawn(*numbers):
        pictures = tuple(photo(number, SIZE) for number in numbers)
        [answer] = editor.draw([Request("the photo of the same cat", 1, SIZE, pictures)])
        assert answer.image.size == SIZE
        return answer.image.tobytes()

    found = [drawn(1), drawn(2), drawn(1, 2)]
    assert len({*found}) == 3 and drawn(1) == found[0]  # every picture is looked at
    with pytest.raises(ValueError, match="`QwenImageEditPlusPipeline` only edits pictures. Name it with `--same-gen"):
        editor.draw([Request("a cat", 1, SIZE)])
