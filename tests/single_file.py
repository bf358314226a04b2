"""A tiny pipeline as one file with the original SDXL names: what `from_single_file` reads, undone."""

import torch
from transformers import CLIPTextModelWithProjection

from tests.tiny import TEXT_WIDTH, tiny_components, tiny_text_config, tiny_tokenizer, tiny_unet

_RESNET = (
    ("norm1", "in_layers.0"),
    ("conv1", "in_layers.2"),
    ("norm2", "out_layers.0"),
    ("conv2", "out_layers.3"),
    ("time_emb_proj", "emb_layers.1"),
    ("conv_shortcut", "skip_connection"),
)
_UNET = (
    ("time_embedding.linear_1", "time_embed.0"),
    ("time_embedding.linear_2", "time_embed.2"),
    ("add_embedding.linear_1", "label_emb.0.0"),
    ("add_embedding.linear_2", "label_emb.0.2"),
    ("conv_in", "input_blocks.0.0"),
    ("conv_norm_out", "out.0"),
    ("conv_out", "out.2"),
    ("mid_block.resnets.0", "middle_block.0"),
    ("mid_block.attentions.0", "middle_block.1"),
    ("mid_block.resnets.1", "middle_block.2"),
)
_VAE = (
    ("mid_block.resnets.0", "mid.block_1"),
    ("mid_block.resnets.1", "mid.block_2"),
    ("mid_block.attentions.0", "mid.attn_1"),
    ("attn_1.group_norm", "attn_1.norm"),
    ("attn_1.to_q", "attn_1.q"),
    ("attn_1.to_k", "attn_1.k"),
    ("attn_1.to_v", "attn_1.v"),
    ("attn_1.to_out.0", "attn_1.proj_out"),
    ("downsamplers.0.conv", "downsample.conv"),
    ("upsamplers.0.conv", "upsample.conv"),
    ("conv_norm_out", "norm_out"),
    ("conv_shortcut", "nin_shortcut"),
    ("resnets", "block"),
)
_OPEN_CLIP = (
    ("text_model.encoder.layers.", "transformer.resblocks."),
    ("layer_norm1", "ln_1"),
    ("layer_norm2", "ln_2"),
    ("mlp.fc1", "mlp.c_fc"),
    ("mlp.fc2", "mlp.c_proj"),
    ("self_attn.out_proj", "attn.out_proj"),
    ("text_model.final_layer_norm", "ln_final"),
    ("text_model.embeddings.token_embedding", "token_embedding"),
    ("text_model.embeddings.position_embedding.weight", "positional_embedding"),
)


def single_file_components() -> dict:
    """Tiny components whose second text encoder has a width of its own and ten layers: SDXL files are told by these."""
    config = tiny_text_config(tiny_tokenizer())
    config.hidden_size, config.num_hidden_layers = TEXT_WIDTH // 2, 10
    torch.manual_seed(6)
    return {
        **tiny_components(),
        "text_encoder_2": CLIPTextModelWithProjection(config).eval(),
        "unet": tiny_unet(cross_attention_dim=TEXT_WIDTH + TEXT_WIDTH // 2),
    }


def single_file_state(pipe) -> dict[str, torch.Tensor]:
    """All weights of a pipeline of `single_file_components` under the original names."""
    state = {f"model.diffusion_model.{key}": value for key, value in _unet_names(pipe.unet)}
    state |= {f"first_stage_model.{key}": value for key, value in vae_state(pipe.vae).items()}
    for key, value in pipe.text_encoder.state_dict().items():
        state[f"conditioner.embedders.0.transformer.text_model.{key.removeprefix('text_model.')}"] = value
    state |= {f"conditioner.embedders.1.model.{key}": value for key, value in _open_clip_names(pipe.text_encoder_2)}
    return {key: value.contiguous() for key, value in state.items()}


def _renamed(key: str, names) -> str:
    for ours, original in names:
        key = key.replace(ours, original)
    return key


def _unet_names(unet):
    per_block = unet.config.layers_per_block + 1
    for key, value in unet.state_dict().items():
        side, *rest = key.split(".")
        if side in ("down_blocks", "up_blocks"):
            block, kind, layer = int(rest[0]), rest[1], int(rest[2])
            tail = ".".join(rest[3:])
            first, name = (1, "input_blocks") if side == "down_blocks" else (0, "output_blocks")
            if kind.endswith("samplers"):
                attentions = bool(getattr(unet.up_blocks[block], "attentions", ())) if side == "up_blocks" else False
                place = 0 if side == "down_blocks" else 1 + attentions
                layer, tail = per_block - 1, tail.replace("conv.", "op.") if side == "down_blocks" else tail
            else:
                place = int(kind == "attentions")
            key = f"{name}.{first + block * per_block + layer}.{place}.{tail}"
        key = _renamed(key, _UNET)
        yield _renamed(key, _RESNET) if ".transformer_blocks." not in key else key, value


def vae_state(vae) -> dict[str, torch.Tensor]:
    """A VAE's weights under the original names."""
    state, last = {}, len(vae.config.up_block_types) - 1
    for key, value in vae.state_dict().items():
        for i in range(last + 1):
            key = key.replace(f"down_blocks.{i}.", f"down.{i}.").replace(f"up_blocks.{i}.", f"up.{last - i}.")
        key = _renamed(key, _VAE)
        is_projection = "attn_1" in key and key.endswith("weight") and value.ndim == 2
        state[key] = value[:, :, None, None] if is_projection else value  # 1 × 1 convolutions in the original
    return state


def _open_clip_names(text_encoder):
    state = text_encoder.state_dict()
    for key, value in state.items():
        if key == "text_projection.weight":
            yield "text_projection", value.T
        elif ".q_proj." in key:
            parts = [state[key.replace("q_proj", f"{part}_proj")] for part in "qkv"]
            yield _renamed(key.replace("self_attn.q_proj.", "attn.in_proj_"), _OPEN_CLIP), torch.cat(parts)
        elif ".k_proj." not in key and ".v_proj." not in key:
            yield _renamed(key, _OPEN_CLIP), value
