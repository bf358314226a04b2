"""Checkpoints of others in our form."""

import pytest
import torch
from safetensors.torch import save_file

from relationbooth_pipeline import (
    LocalImageEncoder,
    RelationAdapter,
    adapter_from_released,
    local_encoder_from_open_clip,
)
from relationbooth_pipeline.relation_files import read_checkpoint
from tests.tiny import tiny_pipeline, tiny_unet, tiny_vision


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
    resnet = {"visual.conv1.weight": torch.zeros(4, 3, 3, 3), "visual.attnpool.positional_embedding": torch.zeros(5, 8)}
    with pytest.raises(ValueError, match="no open_clip vision transformer .`visual.positional_embedding` is missing"):
        local_encoder_from_open_clip(resnet)


def released_form(adapter: RelationAdapter, unet) -> dict:
    """An adapter in the form of MS-Diffusion's file, written by hand for the tests."""
    state = adapter.state_dict()
    names = {
        "query_proj.": "latent_proj.",
        "query_norm.": "latent_norm.",
        "attention.norm_tokens": "0.norm1",
        "attention.norm_queries": "0.norm2",
        "attention.": "0.",
        "feed_forward.": "1.",
    }
    image_proj, projections = {}, {}
    order = [name.removesuffix(".processor") for name in unet.attn_processors]
    for key, value in state.items():
        if key.startswith("resampler."):
            name = key.removeprefix("resampler.")
            if name.startswith(("layers.", "query_")):
                for ours, theirs in names.items():
                    if ours in name:
                        name = name.replace(ours, theirs)
                        break
            image_proj[name] = value
        elif key.startswith("layers."):
            _, path, matrix, _ = key.split(".")
            projections[f"{order.index(path.replace('-', '.'))}.{matrix}_ip.weight"] = value
    return {"image_proj": image_proj, "ms_adapter": projections, "dummy_image_tokens": state["background_tokens"]}


def flattened(groups: dict) -> dict:
    flat = {"dummy_image_tokens": groups["dummy_image_tokens"]}
    for name in ("image_proj", "ms_adapter"):
        flat |= {f"{name}.{key}": value.contiguous() for key, value in groups[name].items()}
    return flat


@pytest.mark.parametrize("kind", ["bin", "safetensors", "adapter group"])
def test_ms_diffusions_file_loads_directly(tmp_path, kind):
    pipe = tiny_pipeline()
    groups = released_form(pipe.relation_adapter, pipe.unet)
    name = "ms_adapter.safetensors" if kind == "safetensors" else "ms_adapter.bin"
    if kind == "adapter group":
        groups["adapter"] = groups.pop("ms_adapter")
    if kind == "safetensors":
        save_file(flattened(groups), tmp_path / name)
    else:
        torch.save(groups, tmp_path / name)
    # The tests' head width is not the released one, so the conversion is called with it.
    adapter = adapter_from_released(read_checkpoint(tmp_path / name), tiny_unet(), dim_head=8)
    for key, value in pipe.relation_adapter.state_dict().items():
        assert torch.equal(adapter.state_dict()[key], value), key
