"""Checkpoints of others in our form."""

import pytest
import torch

from relationbooth_pipeline import (
    LocalImageEncoder,
    local_encoder_from_open_clip,
)
from tests.tiny import tiny_vision


def open_clip_form(encoder: LocalImageEncoder) -> dict:
    """A vision tower under open_clip's names, written by hand for the tests."""
    state, result = encoder.state_dict(), {}
    for i in range(encoder.config.num_hidden_layers):
        layer, block = f"vision_model.encoder.layers.{i}.", f"visual.transformer.resblocks.{i}."
        for kind in ("weight", "bias"):
            parts = [state[f"{layer}self_attn.{p}_proj.{kind}"] for p in "qkv"]
            result[f"{block}attn.in_proj_{kind}"] = torch.cat(parts)
            for ours, theirs in {
                "self_attn.out_proj": "attn.out_proj",
                "layer_norm1": "ln_1",
                "layer_norm2": "ln_2",
                "mlp.fc1": "mlp.c_fc",
                "mlp.fc2": "mlp.c_proj",
            }.items():
                result[f"{block}{theirs}.{kind}"] = state[f"{layer}{ours}.{kind}"]
    for kind in ("weight", "bias"):
        result[f"visual.ln_pre.{kind}"] = state[f"vision_model.pre_layrnorm.{kind}"]
        result[f"visual.ln_post.{kind}"] = state[f"vision_model.post_layernorm.{kind}"]
    result["visual.class_embedding"] = state["vision_model.embeddings.class_embedding"]
    result["visual.positional_embedding"] = state["vision_model.embeddings.position_embedding.weight"]
    result["visual.conv1.weight"] = state["vision_model.embeddings.patch_embedding.weight"]
    result["visual.proj"] = state["visual_projection.weight"].T
    return result


def test_clipselfs_checkpoint_converts():
    encoder = tiny_vision(LocalImageEncoder)
    encoder.config.hidden_act = "gelu"
    encoder = LocalImageEncoder(encoder.config)
    checkpoint = {"state_dict": {f"module.{k}": v for k, v in open_clip_form(encoder).items()}, "epoch": 6}
    checkpoint["state_dict"]["module.logit_scale"] = torch.ones(())
    converted = local_encoder_from_open_clip(checkpoint, head_width=8)
    image = torch.randn(1, 3, 56, 56)
    torch.testing.assert_close(converted(image, grid=2), encoder.eval()(image, grid=2))
    checkpoint["state_dict"].pop("module.visual.ln_post.bias")
    with pytest.raises(ValueError, match="1 missing .*post_layernorm.bias"):
        local_encoder_from_open_clip(checkpoint, head_width=8)
