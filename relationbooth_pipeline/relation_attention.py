"""Parallel cross-attention: text and image prompts read side by side (RelationBooth, Eq. 4).

Shape letters: B rows of one role, P positions, S image tokens of a sample, D layer width, H heads, T text tokens.
"""

import math
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from diffusers.loaders.unet_loader_utils import _maybe_expand_lora_scales  # the dictionaries of set_ip_adapter_scale
from diffusers.models.attention_processor import Attention, AttnProcessor2_0, FusedAttnProcessor2_0

from .relation_rows import Conditioning, ImagePromptStates, rows_of_call


class ParallelAttnProcessor(AttnProcessor2_0):
    """Text attention plus image attention with the same query:

        h = W_out( softmax(Q K_tᵀ/√d) V_t + γ·softmax(Q K_iᵀ/√d) V_i )          (RelationBooth, Eq. 4)

    It holds no parameters and nothing of a generation: everything arrives as `ip_hidden_states`, an
    `ImagePromptStates`. Without it, it is `AttnProcessor2_0`. Parts of the batch whose role does not read image prompts
    read text alone. A position outside every region reads no image token and gets exactly zero from the image branch:
    fused kernels differ in what they return for a row that may read nothing (cuDNN's is not zero), so such a row is
    given to the kernel open and set to zero afterwards.

    `layer_index` is this layer's place among those of its width. It is a tensor because a Python integer would make
    `torch.compile` build one graph per layer instead of one per block shape.

    Departs from the reference: γ is folded into V_i, probabilities are never materialised, and background ("dummy")
    tokens are left out of K_i and V_i when inert, which changes no number.
    """

    def __init__(self):
        super().__init__()
        self.layer_index: torch.Tensor | None = None

    def __call__(
        self,
        attn: Attention,
        hidden_states: torch.Tensor,
        encoder_hidden_states: torch.Tensor | None = None,
        attention_mask: torch.Tensor | None = None,
        temb: torch.Tensor | None = None,
        ip_hidden_states: ImagePromptStates | None = None,
    ) -> torch.Tensor:
        """
        Args:
            hidden_states: (batch, P, C). encoder_hidden_states: (batch, T, ·).
        Raises:
            ValueError: the batch is not as many rows as `ip_hidden_states` was made for, or P is another.
        """
        if ip_hidden_states is None:
            return super().__call__(attn, hidden_states, encoder_hidden_states, attention_mask, temb)

        batch, positions, _ = hidden_states.shape
        if attention_mask is not None:
            attention_mask = attn.prepare_attention_mask(attention_mask, encoder_hidden_states.shape[1], batch)
            attention_mask = attention_mask.view(batch, attn.heads, -1, attention_mask.shape[-1])

        def heads(states):
            return states.view(states.shape[0], -1, attn.heads, states.shape[-1] // attn.heads).transpose(1, 2)

        query = heads(attn.to_q(hidden_states))
        text_key, text_value = map(heads, self._text_states(attn, encoder_hidden_states))
        mixed = F.scaled_dot_product_attention(query, text_key, text_value, attn_mask=attention_mask)

        layers = ip_hidden_states.layers[attn.inner_dim]
        image_key, image_value = layers.index_select(1, self.layer_index)[:, 0].to(query.dtype).unbind(0)
        reads = ip_hidden_states.reads
        if batch != len(reads) * image_key.shape[0]:
            raise ValueError(
                f"image prompts were prepared for {len(reads)} × {image_key.shape[0]} rows, but the UNet received "
                f"{batch}. Prepare them for this batch."
            )
        queries = query.chunk(len(reads))
        bias, inside = rows_of_call(ip_hidden_states, attn, queries, text_key.chunk(len(reads)))
        image_key, image_value = heads(image_key), heads(image_value)
        parts = []
        for part, part_query, is_reading in zip(mixed.chunk(len(reads)), queries, reads):
            if is_reading:
                image = F.scaled_dot_product_attention(part_query, image_key, image_value, attn_mask=bias)
                part = torch.addcmul(part, image, inside)
            parts.append(part)
        mixed = parts[0] if len(parts) == 1 else torch.cat(parts)

        mixed = mixed.transpose(1, 2).reshape(batch, positions, -1).to(query.dtype)
        for layer in attn.to_out:  # projection, dropout
            mixed = layer(mixed)
        return mixed

    @staticmethod
    def _text_states(attn: Attention, states: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """K_t and V_t, each (batch, T, D)."""
        return attn.to_k(states), attn.to_v(states)


class FusedParallelAttnProcessor(ParallelAttnProcessor):
    """The same after `fuse_qkv_projections`: K_t and V_t come from one product."""

    def __call__(
        self, attn: Attention, *args: Any, ip_hidden_states: ImagePromptStates | None = None, **kwargs: Any
    ) -> torch.Tensor:
        if ip_hidden_states is None:
            return FusedAttnProcessor2_0()(attn, *args, **kwargs)
        return super().__call__(attn, *args, ip_hidden_states=ip_hidden_states, **kwargs)

    @staticmethod
    def _text_states(attn: Attention, states: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        return attn.to_kv(states).chunk(2, dim=-1)


FUSED = (FusedAttnProcessor2_0, FusedParallelAttnProcessor)


def cross_attention_layers(unet: torch.nn.Module) -> dict[str, int]:
    """Path → width D of every text cross-attention, sorted by path.

    The order decides which K and V a layer reads, and a saved config keeps no other order of its keys.
    """
    unet = getattr(unet, "_orig_mod", unet)
    paths = sorted(name.removesuffix(".processor") for name in unet.attn_processors if name.endswith("attn2.processor"))
    return {path: unet.get_submodule(path).inner_dim for path in paths}


def layer_scales(unet: torch.nn.Module, block_scales: float | dict) -> dict[str, float]:
    """Factor of γ for every text cross-attention, by path.

    Args:
        block_scales: as in diffusers' `set_ip_adapter_scale`: a number, or a dictionary such as
            {"down": {"block_2": [0.0, 1.0]}, "up": {"block_0": [0.0, 1.0, 0.0]}}; blocks left out get 0.
    Raises:
        ValueError: a block does not exist, has another number of layers, or a factor is no finite number.
    """
    unet = getattr(unet, "_orig_mod", unet)
    _check_blocks(unet, block_scales)
    found = _maybe_expand_lora_scales(unet, [block_scales], default_scale=0.0)[0]
    if not isinstance(found, dict):
        found = {"": found}
    scales = {}
    for path in cross_attention_layers(unet):
        factor = next((value for block, value in found.items() if path.startswith(block)), 0.0)
        if not isinstance(factor, (int, float)) or not math.isfinite(factor):
            raise ValueError(f"`block_scales` must hold finite numbers, got {factor!r} for `{path}`.")
        scales[path] = float(factor)
    return scales


def _check_blocks(unet: torch.nn.Module, block_scales: float | dict) -> None:
    if not isinstance(block_scales, dict):
        return
    parts = {"down": unet.down_blocks, "up": unet.up_blocks}
    known = {
        part: {f"block_{i}" for i, block in enumerate(blocks) if hasattr(block, "attentions")}
        for part, blocks in parts.items()
    }
    known["mid"] = set()
    for part, scales in block_scales.items():
        if part not in known or (isinstance(scales, dict) and not set(scales) <= known[part]):
            raise ValueError(
                f"`block_scales` must name blocks with cross-attention, down: {', '.join(sorted(known['down']))}, mid, "
                f"up: {', '.join(sorted(known['up']))}, got {part!r}: {scales!r}."
            )


def install_parallel_attention(unet: torch.nn.Module) -> None:
    """Give every text cross-attention a `ParallelAttnProcessor`, and the UNet the hook that opens image prompts for
    them; self-attention keeps what it has."""
    unet = getattr(unet, "_orig_mod", unet)
    seen: dict[int, int] = {}
    for path, width in cross_attention_layers(unet).items():
        attn = unet.get_submodule(path)
        processor = FusedParallelAttnProcessor() if isinstance(attn.processor, FUSED) else ParallelAttnProcessor()
        processor.layer_index = torch.tensor([seen.get(width, 0)], device=unet.device)
        seen[width] = seen.get(width, 0) + 1
        attn.set_processor(processor)
    if open_conditioning not in unet._forward_pre_hooks.values():
        unet.register_forward_pre_hook(open_conditioning, with_kwargs=True)
    # Diffusers' method refuses processors that are not its own. A partial follows its UNet through copies and pickles.
    unet.set_default_attn_processor = partial(_set_default_attn_processor, unet)


def remove_parallel_attention(unet: torch.nn.Module) -> None:
    """Give the layers that still have ours the stock processor back, and take the hook off."""
    for attn in _parallel_layers(unet).values():
        attn.set_processor(FusedAttnProcessor2_0() if isinstance(attn.processor, FUSED) else AttnProcessor2_0())
    unet = getattr(unet, "_orig_mod", unet)
    before_fusing = getattr(unet, "original_attn_processors", None) or {}  # which diffusers gives back
    for path, processor in before_fusing.items():
        if isinstance(processor, ParallelAttnProcessor):
            before_fusing[path] = AttnProcessor2_0()
    vars(unet).pop("set_default_attn_processor", None)
    for number, hook in list(unet._forward_pre_hooks.items()):
        if hook is open_conditioning:
            del unet._forward_pre_hooks[number]
            unet._forward_pre_hooks_with_kwargs.pop(number, None)


def _set_default_attn_processor(unet: torch.nn.Module) -> None:
    """As in diffusers, for self-attention; text cross-attention goes on reading image prompts."""
    remove_parallel_attention(unet)
    unet.set_default_attn_processor()
    install_parallel_attention(unet)


def open_conditioning(unet: torch.nn.Module, args: tuple, kwargs: dict[str, Any]) -> tuple[tuple, dict] | None:
    """The UNet's forward pre-hook: opens a `Conditioning` for this call, leaves anything else alone."""
    given = kwargs.get("cross_attention_kwargs")
    conditioning = None if given is None else given.get("ip_hidden_states")
    if not isinstance(conditioning, Conditioning):
        return None
    states = conditioning.open(unet, args[0] if args else kwargs["sample"])
    if not conditioning.is_checked and not torch.compiler.is_compiling():
        check_parallel_attention(unet)
        conditioning.check_text(args[2] if len(args) > 2 else kwargs["encoder_hidden_states"])
        conditioning.is_checked = True
    opened = {name: value for name, value in given.items() if name != "ip_hidden_states"}
    if states is not None:
        opened["ip_hidden_states"] = states
    return args, {**kwargs, "cross_attention_kwargs": opened}


def check_parallel_attention(unet: torch.nn.Module) -> None:
    """Raise a ValueError when somebody replaced our processors: some cross-attention would ignore the image prompts."""
    ours, unet = _parallel_layers(unet), getattr(unet, "_orig_mod", unet)
    for path in cross_attention_layers(unet):
        if path not in ours:
            found = type(unet.get_submodule(path).processor).__name__
            raise ValueError(
                f"`{path}` has the attention processor {found}, which would ignore `image_prompts`. Something replaced "
                "ParallelAttnProcessor (load_ip_adapter, fuse_qkv_projections, set_attn_processor, attention slicing, "
                "xformers …). Undo that, then call `pipe.enable_parallel_attention()`."
            )


def prepare_parallel_attention(unet: torch.nn.Module, device: torch.device | str) -> None:
    """`check_parallel_attention`, and the layer indices moved to where the UNet will run."""
    check_parallel_attention(unet)
    for attn in _parallel_layers(unet).values():
        attn.processor.layer_index = attn.processor.layer_index.to(device)


def _parallel_layers(unet: torch.nn.Module) -> dict[str, torch.nn.Module]:
    unet = getattr(unet, "_orig_mod", unet)
    layers = {path: unet.get_submodule(path) for path in cross_attention_layers(unet)}
    return {path: attn for path, attn in layers.items() if isinstance(attn.processor, ParallelAttnProcessor)}
