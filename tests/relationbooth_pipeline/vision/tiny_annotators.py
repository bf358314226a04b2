"""Tiny real models of the kinds that annotate pictures, saved as they are downloaded, with random weights."""

from pathlib import Path

import torch
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import (
    BertConfig,
    GroundingDinoConfig,
    GroundingDinoForObjectDetection,
    GroundingDinoImageProcessorPil,
    GroundingDinoProcessor,
    PreTrainedTokenizerFast,
    SamConfig,
    SamImageProcessorPil,
    SamMaskDecoderConfig,
    SamModel,
    SamProcessor,
    SamPromptEncoderConfig,
    SamVisionConfig,
    SwinConfig,
    VitPoseBackboneConfig,
    VitPoseConfig,
    VitPoseForPoseEstimation,
    VitPoseImageProcessorPil,
)


def tiny_sam(folder: Path) -> str:
    torch.manual_seed(4)
    side, patch = 128, 16
    vision = SamVisionConfig(
        hidden_size=32, output_channels=32, num_hidden_layers=2, num_attention_heads=2, image_size=side,
        patch_size=patch, mlp_dim=32, window_size=4, global_attn_indexes=[1], num_pos_feats=16,
    )  # fmt: skip
    prompt = SamPromptEncoderConfig(hidden_size=32, image_size=side, patch_size=patch, mask_input_channels=4)
    decoder = SamMaskDecoderConfig(
        hidden_size=32, mlp_dim=32, num_hidden_layers=1, num_attention_heads=2, iou_head_hidden_dim=32
    )
    SamModel(
        SamConfig(vision_config=vision, prompt_encoder_config=prompt, mask_decoder_config=decoder)
    ).eval().save_pretrained(folder)
    size = {"longest_edge": side}, {"height": side, "width": side}
    processor = SamImageProcessorPil(
        size=size[0], pad_size=size[1], mask_size={"longest_edge": 32}, mask_pad_size={"height": 32, "width": 32}
    )
    SamProcessor(processor).save_pretrained(folder)
    return str(folder)


def tiny_vitpose(folder: Path, simple: bool = True, seed: int = 5, labels: int = 17, **config) -> str:
    torch.manual_seed(seed)
    backbone = VitPoseBackboneConfig(
        hidden_size=32, num_hidden_layers=2, num_attention_heads=2, mlp_ratio=2, image_size=[64, 48],
        patch_size=[16, 16], num_experts=6, part_features=8, out_indices=[2],
    )  # fmt: skip
    model = VitPoseForPoseEstimation(
        VitPoseConfig(backbone_config=backbone, num_labels=labels, use_simple_decoder=simple, **config)
    ).eval()
    for parameter in model.parameters():
        parameter.data.add_(0.1 * torch.randn_like(parameter))  # biases and norms too, so that mixing them up shows
    model.head.conv.bias.data.add_(2)  # where all of a heatmap is below zero, no maximum is looked for
    model.save_pretrained(folder)
    VitPoseImageProcessorPil(size={"height": 64, "width": 48}).save_pretrained(folder)
    return str(folder)


def tiny_grounding_dino(folder: Path) -> str:
    torch.manual_seed(6)
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "a", ".", "?", "cat", "dog", "bear", "polar", "lion", "tiger"]
    backend = Tokenizer(models.WordLevel({word: i for i, word in enumerate(words)}, unk_token="[UNK]"))
    backend.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=backend, unk_token="[UNK]", pad_token="[PAD]", cls_token="[CLS]", sep_token="[SEP]"
    )
    swin = SwinConfig(
        image_size=64, patch_size=4, embed_dim=16, depths=[1] * 4, num_heads=[2] * 4, window_size=4,
        out_features=["stage2", "stage3", "stage4"],
    )  # fmt: skip
    bert = BertConfig(
        vocab_size=len(words), hidden_size=32, intermediate_size=32, num_hidden_layers=1, num_attention_heads=2,
        max_position_embeddings=64,
    )  # fmt: skip
    config = GroundingDinoConfig(
        backbone_config=swin, text_config=bert, d_model=32, encoder_layers=1, decoder_layers=2, num_queries=10,
        encoder_attention_heads=2, decoder_attention_heads=2, encoder_ffn_dim=32, decoder_ffn_dim=32,
        max_text_len=64, encoder_n_points=2, decoder_n_points=2, num_feature_levels=4,
    )  # fmt: skip
    GroundingDinoForObjectDetection(config).eval().save_pretrained(folder)
    processor = GroundingDinoImageProcessorPil(size={"shortest_edge": 64, "longest_edge": 96})
    GroundingDinoProcessor(processor, tokenizer).save_pretrained(folder)
    return str(folder)
