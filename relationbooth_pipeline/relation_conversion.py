"""Checkpoints of others brought into our form (MS-Diffusion's adapter, open_clip's vision towers); strict loading."""

import re
from pathlib import Path

import torch
from transformers import CLIPVisionConfig, PreTrainedModel

from .relation_adapter import RelationAdapter
from .relation_attention import cross_attention_layers
from .relation_files import check_finite
from .relation_image_encoder import LocalImageEncoder
from .relation_resampler import LocalTokenResampler

VIT_BIGG_REPOSITORY = "laion/CLIP-ViT-bigG-14-laion2B-39B-b160k"  # image encoder of MS-Diffusion's released adapter
_ADAPTER_GROUPS = ("image_proj", "ms_adapter", "dummy_image_tokens")
_RESAMPLER_NAMES = (  # released name → ours
    (r"^latent_proj\.", "query_proj."),
    (r"^latent_norm\.", "query_norm."),
    (r"^layers\.(\d+)\.0\.norm1\.", r"layers.\1.attention.norm_tokens."),
    (r"^layers\.(\d+)\.0\.norm2\.", r"layers.\1.attention.norm_queries."),
    (r"^layers\.(\d+)\.0\.", r"layers.\1.attention."),
    (r"^layers\.(\d+)\.1\.", r"layers.\1.feed_forward."),
)
_BLOCK_NAMES = (  # open_clip's residual block → transformers' encoder layer
    ("ln_1.", "layer_norm1."),
    ("ln_2.", "layer_norm2."),
    ("attn.out_proj.", "self_attn.out_proj."),
    ("mlp.c_fc.", "mlp.fc1."),
    ("mlp.c_proj.", "mlp.fc2."),
)


def adapter_groups(checkpoint: dict, source: str) -> dict:
    """MS-Diffusion's three groups, from the pickled form (nested) or the safetensors form (flattened with a dot)."""
    groups: dict = {}
    for key, value in checkpoint.items():
        group, _, rest = key.partition(".")
        group = "ms_adapter" if group == "adapter" else group
        if rest:
            groups.setdefault(group, {})[rest] = value
        else:
            groups[group] = value
    if set(groups) != set(_ADAPTER_GROUPS):
        raise ValueError(
            f"{source} must hold the groups {', '.join(_ADAPTER_GROUPS)} (or `adapter` for the second), got "
            f"{', '.join(map(str, groups)) or 'nothing'}. This is no MS-Diffusion adapter."
        )
    return groups


def adapter_from_released(
    checkpoint: dict, unet: torch.nn.Module, source: str = "the checkpoint", dim_head: int = 64
) -> RelationAdapter:
    """A `RelationAdapter` for `unet` from MS-Diffusion's checkpoint.

    Sizes are read off the weights; only `dim_head` is not in them (64 in every released file).

    Raises:
        ValueError: not such a checkpoint, or one for another UNet.
    """
    groups = adapter_groups(checkpoint, source)
    released, projections, background = (groups[name] for name in _ADAPTER_GROUPS)
    try:
        resampler = _resampler_config(released, dim_head)
    except (KeyError, AttributeError) as error:
        raise ValueError(f"{source}: group `image_proj` lacks {error}. This is no MS-Diffusion adapter.") from error
    paths = list(cross_attention_layers(unet))
    order = [name.removesuffix(".processor") for name in unet.attn_processors]
    adapter = RelationAdapter.for_unet(
        unet,
        embedding_dim=resampler.pop("embedding_dim"),
        phrase_embeddings_dim=resampler.pop("phrase_embeddings_dim"),
        resampler_config=resampler,
        num_background_tokens=background.shape[1],
        image_encoder=VIT_BIGG_REPOSITORY,
    )
    state = {"background_tokens": background}
    state |= {f"resampler.{key}": value for key, value in _resampler_names(released).items()}
    # Stored indices count every attention processor, so those of cross-attention are the odd ones of SDXL.
    index_to_path = {str(order.index(path)): path.replace(".", "-") for path in paths}
    for key, value in projections.items():
        index, _, name = key.partition(".")
        path = index_to_path.get(index, f"<attention processor {index}>")
        state[f"layers.{path}.{name.replace('_ip', '')}"] = value
    adapter.check_fits(unet)
    load_strictly(adapter, state, source)
    return adapter


def resampler_from_released(
    released: dict[str, torch.Tensor], config: dict, source: str = "the checkpoint"
) -> LocalTokenResampler:
    """A `LocalTokenResampler` of the given config from the checkpoint's group `image_proj`."""
    resampler = LocalTokenResampler(**config)
    load_strictly(resampler, _resampler_names(released), source)
    return resampler


def _resampler_names(released: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    state = {}
    for key, value in released.items():
        for pattern, name in _RESAMPLER_NAMES:
            key, changed = re.subn(pattern, name, key)
            if changed:
                break
        state[key] = value
    return state


def _resampler_config(state: dict[str, torch.Tensor], dim_head: int) -> dict:
    dim, embedding_dim = state["proj_in.weight"].shape
    inner = state["layers.0.0.to_q.weight"].shape[0]
    fourier_freqs = 8  # of every released adapter; the box embedding has 8 numbers per frequency
    return {
        "dim": dim,
        "embedding_dim": embedding_dim,
        "output_dim": state["proj_out.weight"].shape[0],
        "phrase_embeddings_dim": state["latent_proj.0.weight"].shape[1] - 8 * fourier_freqs,
        "depth": len({key.split(".")[1] for key in state if key.startswith("layers.")}),
        "heads": inner // dim_head,
        "dim_head": dim_head,
        "num_queries": state["grounding_latents"].shape[1],
        "ff_mult": state["layers.0.1.1.weight"].shape[0] // dim,
        "fourier_freqs": fourier_freqs,
    }


def local_encoder_from_open_clip(
    checkpoint: dict, source: str = "the checkpoint", head_width: int | None = None, hidden_act: str = "gelu"
) -> LocalImageEncoder:
    """A `LocalImageEncoder` from an open_clip ViT, CLIPSelf's `epoch_6.pt` included.

    Args:
        checkpoint: `visual.*` tensors, or a training checkpoint that holds them under `state_dict` (with or without the
            prefix `module.`); other towers' tensors are passed over.
        head_width: width of a head, which the weights do not tell: 104 for ViT-bigG/14, 88 for ViT-g/14, 80 for
            ViT-H/14, 64 for the others; None takes these by the tower's width.
        hidden_act: "gelu", or "quick_gelu" for OpenAI's weights.
    """
    state = checkpoint.get("state_dict", checkpoint)
    visual = {k.removeprefix("module.").removeprefix("visual."): v for k, v in state.items() if "visual." in k}
    needed = ("conv1.weight", "positional_embedding", "proj", "transformer.resblocks.0.mlp.c_fc.weight")
    if missing := [name for name in needed if name not in visual]:
        raise ValueError(f"{source} holds no open_clip vision transformer (`visual.{missing[0]}` is missing).")
    width, _, patch, _ = visual["conv1.weight"].shape
    head_width = head_width or {1664: 104, 1408: 88, 1280: 80}.get(width, 64)
    side = round((visual["positional_embedding"].shape[0] - 1) ** 0.5)
    config = CLIPVisionConfig(
        hidden_size=width,
        intermediate_size=visual["transformer.resblocks.0.mlp.c_fc.weight"].shape[0],
        num_hidden_layers=len({k.split(".")[2] for k in visual if k.startswith("transformer.resblocks.")}),
        num_attention_heads=width // head_width,
        image_size=side * patch,
        patch_size=patch,
        projection_dim=visual["proj"].shape[1],
        hidden_act=hidden_act,
    )
    encoder = LocalImageEncoder(config)
    load_strictly(encoder, dict(_transformers_names(visual)), source)
    return encoder.eval()


def _transformers_names(visual: dict[str, torch.Tensor]):
    outer = {
        "class_embedding": "vision_model.embeddings.class_embedding",
        "positional_embedding": "vision_model.embeddings.position_embedding.weight",
        "conv1.weight": "vision_model.embeddings.patch_embedding.weight",
    }
    for key, value in visual.items():
        block = re.match(r"transformer\.resblocks\.(\d+)\.(.*)", key)
        if block:
            prefix, name = f"vision_model.encoder.layers.{block[1]}.", block[2]
            if name.startswith("attn.in_proj_"):
                for part, tensor in zip("qkv", value.chunk(3)):
                    yield f"{prefix}self_attn.{part}_proj.{name.removeprefix('attn.in_proj_')}", tensor
                continue
            for released, ours in _BLOCK_NAMES:
                name = name.replace(released, ours)
            yield prefix + name, value
        elif key == "proj":
            yield "visual_projection.weight", value.T
        else:
            name = key.replace("ln_pre.", "pre_layrnorm.").replace("ln_post.", "post_layernorm.")
            yield outer.get(key, f"vision_model.{name}"), value


def load_strictly(model: torch.nn.Module, state: dict[str, torch.Tensor], source: str) -> None:
    """Fill `model` from `state`, every tensor checked before any is replaced.

    Raises:
        ValueError: keys missing or extra, a shape that differs, an integer tensor, or a value that is not finite.
    """
    expected = model.state_dict()
    missing, extra = sorted(expected.keys() - state.keys()), sorted(state.keys() - expected.keys())
    if missing or extra:
        raise ValueError(
            f"{source} does not hold the weights of {type(model).__name__}: {len(missing)} missing (first: "
            f"{missing[:2]}), {len(extra)} unexpected (first: {extra[:2]}). Use the file that belongs to this config."
        )
    for key, tensor in state.items():
        if tensor.shape != expected[key].shape:
            raise ValueError(
                f"{source}: `{key}` must have shape {tuple(expected[key].shape)}, got {tuple(tensor.shape)}. "
                "Use the file that belongs to this config."
            )
    check_finite(state, source)
    model.load_state_dict(state)


def load_model(model_class: type, source: torch.nn.Module | str | Path | None, **options) -> torch.nn.Module:
    """`source` itself when it is a model, else `model_class.from_pretrained`, strict: no weight missing, misshapen or
    not finite. A full CLIP repository is fine for a vision model: its text tower is passed over.

    Raises:
        ValueError: `source` is None, holds no such model, or weights that do not fit its config.
    """
    if isinstance(source, torch.nn.Module):
        return source
    if source is None:
        raise ValueError(f"a {model_class.__name__} is needed, got None. Pass a model, a folder or a Hub repository.")
    try:
        model, report = model_class.from_pretrained(source, output_loading_info=True, use_safetensors=True, **options)
    except Exception as error:  # each of the four libraries below raises its own kinds; the cause is kept
        raise ValueError(f"no {model_class.__name__} could be loaded from `{source}`: {error}") from error
    faults = [*report["missing_keys"], *report["mismatched_keys"]]
    if not issubclass(model_class, PreTrainedModel):
        faults += report["unexpected_keys"]
    if faults:
        raise ValueError(
            f"the weights in `{source}` do not fit its config: {len(faults)} keys are missing, unexpected or misshapen "
            f"(first: {sorted(map(str, faults))[:2]}). Download it again."
        )
    check_finite(dict(model.named_parameters()), f"`{source}`")
    return model


def own_entries(index: dict, installed: bool = False) -> dict[str, list[str]]:
    """Entries of a `model_index.json` for the components that diffusers does not know.

    Their library is one of diffusers' own names, since its download refuses any other; `installed`: our modules.
    """
    kinds = {"relation_adapter": RelationAdapter, "local_image_encoder": LocalImageEncoder}
    present = {name: kind for name, kind in kinds.items() if (index.get(name) or [None])[0]}
    return {n: [kind.__module__ if installed else "stable_diffusion_xl", kind.__name__] for n, kind in present.items()}
