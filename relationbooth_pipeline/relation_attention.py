"""Parallel cross-attention: text and image prompts read side by side (RelationBooth, Eq. 4).

Shape letters: B batch, P positions, S image tokens of a sample, D layer width, H heads.
"""

import torch
import torch.nn.functional as F
from diffusers.models.attention_processor import AttnProcessor2_0

from .relation_layouts import AutomaticLayout


class ParallelAttnProcessor(AttnProcessor2_0):
    """Text attention plus image attention with the same query:

        h = W_out( softmax(Q K_tᵀ/√d) V_t + γ·softmax(Q K_iᵀ/√d) V_i )          (RelationBooth, Eq. 4)

    It holds no parameters and nothing of a generation. Everything arrives as arguments, under the two names that
    diffusers passes on silently to attention layers:

        ip_hidden_states: {D: (2, layers of width D, B, S, D)}: image K and γ·V of every layer
        (`RelationAdapter.forward`).
        ip_adapter_masks: {P: bool (B, 1, P, S)} (`token_masks`), or an `AutomaticLayout`.

    Without them it is `AttnProcessor2_0`. B may be smaller than the batch of the hidden states: the *last* B rows are
    the conditional ones, the rows before (the unconditional half of guidance) read text alone. A position outside every
    region reads no image token and gets exactly zero from the image branch.

    `layer_index` is this layer's place among those of its width. It is a tensor because a Python integer would make
    `torch.compile` build one graph per layer instead of one per block shape.

    Departs from the reference: γ is folded into V_i, probabilities are never materialised, and background ("dummy")
    tokens are left out of K_i and V_i when inert, which changes no number.
    """

    def __init__(self):
        super().__init__()
        self.layer_index = None

    def __call__(
        self,
        attn,
        hidden_states: torch.Tensor,
        encoder_hidden_states: torch.Tensor | None = None,
        attention_mask: torch.Tensor | None = None,
        temb: torch.Tensor | None = None,
        ip_hidden_states: dict[int, torch.Tensor] | None = None,
        ip_adapter_masks: dict[int, torch.Tensor] | AutomaticLayout | None = None,
    ) -> torch.Tensor:
        if ip_hidden_states is None:
            return super().__call__(attn, hidden_states, encoder_hidden_states, attention_mask, temb)

        batch, positions, _ = hidden_states.shape
        if attention_mask is not None:
            attention_mask = attn.prepare_attention_mask(attention_mask, encoder_hidden_states.shape[1], batch)
            attention_mask = attention_mask.view(batch, attn.heads, -1, attention_mask.shape[-1])

        def heads(states):
            return states.view(states.shape[0], -1, attn.heads, states.shape[-1] // attn.heads).transpose(1, 2)

        query = heads(attn.to_q(hidden_states))
        text_key, text_value = heads(attn.to_k(encoder_hidden_states)), heads(attn.to_v(encoder_hidden_states))
        mixed = F.scaled_dot_product_attention(query, text_key, text_value, attn_mask=attention_mask)

        layers = ip_hidden_states[attn.inner_dim]
        image_key, image_value = layers.index_select(1, self.layer_index)[:, 0].to(query.dtype).unbind(0)
        rows = image_key.shape[0]
        if rows > batch:
            raise ValueError(
                f"image prompts were prepared for a batch of {rows}, but the UNet received {batch} rows. Prepare them "
                "for this batch: `num_images_per_prompt` counts too."
            )
        conditional = query[batch - rows :]
        if isinstance(ip_adapter_masks, AutomaticLayout):
            scores = conditional @ text_key[batch - rows :].transpose(-1, -2) / conditional.shape[-1] ** 0.5
            allowed = ip_adapter_masks.masks(attn, scores.softmax(-1))
        else:
            allowed = ip_adapter_masks[positions]
        image = F.scaled_dot_product_attention(conditional, heads(image_key), heads(image_value), attn_mask=allowed)
        with_image = mixed[batch - rows :] + image
        mixed = with_image if rows == batch else torch.cat([mixed[: batch - rows], with_image])

        mixed = mixed.transpose(1, 2).reshape(batch, positions, -1).to(query.dtype)
        for layer in attn.to_out:  # projection, dropout
            mixed = layer(mixed)
        return mixed


def cross_attention_layers(unet) -> dict[str, int]:
    """Path → width D of every text cross-attention, sorted by path.

    The order decides which K and V a layer reads, and a saved config keeps no other order of its keys.
    """
    unet = getattr(unet, "_orig_mod", unet)
    paths = sorted(name.removesuffix(".processor") for name in unet.attn_processors if name.endswith("attn2.processor"))
    return {path: unet.get_submodule(path).inner_dim for path in paths}


def install_parallel_attention(unet) -> None:
    """Give every text cross-attention a `ParallelAttnProcessor`; self-attention keeps what it has."""
    unet = getattr(unet, "_orig_mod", unet)
    seen: dict[int, int] = {}
    for path, width in cross_attention_layers(unet).items():
        processor = ParallelAttnProcessor()
        processor.layer_index = torch.tensor([seen.get(width, 0)], device=unet.device)
        seen[width] = seen.get(width, 0) + 1
        unet.get_submodule(path).set_processor(processor)


def remove_parallel_attention(unet) -> None:
    """Give the layers that still have ours the stock processor back."""
    for attn in _parallel_layers(unet).values():
        attn.set_processor(AttnProcessor2_0())


def prepare_parallel_attention(unet, device) -> None:
    """Check that nobody replaced our processors, and move their layer indices to where the UNet will run.

    Raises:
        ValueError: some cross-attention would ignore the image prompts.
    """
    ours, unet = _parallel_layers(unet), getattr(unet, "_orig_mod", unet)
    for path in cross_attention_layers(unet):
        if path not in ours:
            found = type(unet.get_submodule(path).processor).__name__
            raise ValueError(
                f"`{path}` has the attention processor {found}, which would ignore `image_prompts`. Something replaced "
                "ParallelAttnProcessor (load_ip_adapter, fuse_qkv_projections, set_attn_processor, attention slicing, "
                "xformers …). Undo that, then call `pipe.enable_parallel_attention()`."
            )
    for attn in ours.values():
        attn.processor.layer_index = attn.processor.layer_index.to(device)


def _parallel_layers(unet) -> dict[str, torch.nn.Module]:
    unet = getattr(unet, "_orig_mod", unet)
    layers = {path: unet.get_submodule(path) for path in cross_attention_layers(unet)}
    return {path: attn for path, attn in layers.items() if isinstance(attn.processor, ParallelAttnProcessor)}
