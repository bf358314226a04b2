"""RelationAdapter: all adapter weights in one component: the resampler, and the image K and V of every layer.

Shape letters: B batch, N objects, T image tokens, L tokens per object, C context width, D layer width, S = N·L (plus
background tokens when they act).
"""

from collections.abc import Sequence
from typing import Any

import torch
from diffusers import ConfigMixin, ModelMixin
from diffusers.configuration_utils import register_to_config
from torch import nn

from .relation_attention import cross_attention_layers
from .relation_layouts import AutomaticLayout
from .relation_regions import attention_grids, mask_regions, token_masks
from .relation_regions import region_masks as box_masks
from .relation_resampler import LocalTokenResampler


class ImageKeyValue(nn.Module):
    """K_i and V_i of one cross-attention layer: C → D each, no bias."""

    def __init__(self, context_width: int, layer_width: int):
        super().__init__()
        self.to_k = nn.Linear(context_width, layer_width, bias=False)
        self.to_v = nn.Linear(context_width, layer_width, bias=False)


class RelationAdapter(ModelMixin, ConfigMixin):
    """Turns image prompts into what `ParallelAttnProcessor` reads. Independent of the timestep: once per generation.

    Args:
        resampler_config: config of the `LocalTokenResampler`.
        layer_widths: path → width D of every text cross-attention of the UNet (`cross_attention_layers`).
        num_background_tokens: learned tokens for positions that no object covers.
        background_tokens_active: False keeps them inert, as in every released adapter (golden case `attention`).
        image_prompt_size: pixels; image prompts are squashed to this square first.
        local_grid: k; k·k local tokens per object, 0 for an adapter trained without.
        local_image_size: pixels; input side of the local image encoder.
        image_encoder, local_image_encoder: default repositories, for adapters whose own folder holds none;
            "none": saved without local tokens.
    """

    @register_to_config
    def __init__(
        self,
        resampler_config: dict,
        layer_widths: dict[str, int],
        num_background_tokens: int = 4,
        background_tokens_active: bool = False,
        image_prompt_size: int = 512,
        local_grid: int = 4,
        local_image_size: int = 896,
        image_encoder: str | None = None,
        local_image_encoder: str | None = None,
    ):
        super().__init__()
        self.resampler = LocalTokenResampler(**resampler_config)
        context_width = self.resampler.config.output_dim
        self.background_tokens = nn.Parameter(torch.randn(1, num_background_tokens, context_width))
        # Sorted as `cross_attention_layers`: a config read from its file is. A module name may not contain a dot.
        self.layers = nn.ModuleDict(
            {
                path.replace(".", "-"): ImageKeyValue(context_width, width)
                for path, width in sorted(layer_widths.items())
            }
        )

    @classmethod
    def for_unet(
        cls,
        unet: nn.Module,
        embedding_dim: int,
        phrase_embeddings_dim: int,
        resampler_config: dict | None = None,
        **config: Any,
    ) -> "RelationAdapter":
        """A freshly initialised adapter that fits `unet`; `resampler_config` overrides single fields of its config."""
        fields = {
            "embedding_dim": embedding_dim,
            "phrase_embeddings_dim": phrase_embeddings_dim,
            "output_dim": unet.config.cross_attention_dim,
        }
        return cls(
            resampler_config={**fields, **(resampler_config or {})}, layer_widths=cross_attention_layers(unet), **config
        )

    @property
    def tokens_per_object(self) -> int:
        return self.resampler.config.num_queries

    @property
    def acting_background_tokens(self) -> int:
        return self.config.num_background_tokens if self.config.background_tokens_active else 0

    def check_fits(self, unet: nn.Module) -> None:
        """Raise a ValueError unless this adapter was made for a UNet with the layers and widths of `unet`, or where an
        IP-Adapter is loaded: it would lose its processors."""
        if unet.config.encoder_hid_dim_type == "ip_image_proj":
            raise ValueError(
                "the UNet has an IP-Adapter, which reads the same branch: call `pipe.unload_ip_adapter()` first."
            )
        expected, context = dict(self.config.layer_widths), self.resampler.config.output_dim
        if unet.config.cross_attention_dim != context:
            raise ValueError(
                f"this adapter was made for `cross_attention_dim` {context}, but the UNet has "
                f"{unet.config.cross_attention_dim}. Load a base of the adapter's kind (SDXL has 2048, SD 1.5 has 768)."
            )
        found = cross_attention_layers(unet)
        if found != expected:
            odd = next(path for path in [*expected, *found] if expected.get(path) != found.get(path))
            raise ValueError(
                f"this adapter does not fit the UNet: layer `{odd}` has width {found.get(odd)} in the UNet and "
                f"{expected.get(odd)} in the adapter. Load the base that the adapter was trained on."
            )

    def check_encoders(self, image_encoder: nn.Module | None, local_image_encoder: nn.Module | None) -> None:
        """Raise a ValueError unless the encoders (models, or what holds a `config`) give what this adapter reads."""
        for name, encoder, expected in (
            ("image_encoder", image_encoder, self.resampler.config.embedding_dim),
            ("local_image_encoder", local_image_encoder, self.resampler.local_width),
        ):
            if encoder is not None and encoder.config.hidden_size != expected:
                raise ValueError(
                    f"`{name}` must have width {expected} for this adapter, got {encoder.config.hidden_size}. Use the "
                    "encoder that the adapter was trained with (MS-Diffusion's: CLIP ViT-bigG/14, width 1664)."
                )
        if local_image_encoder is not None:
            patch, side = local_image_encoder.config.patch_size, self.config.local_image_size
            if side % patch or side // patch < self.config.local_grid:
                raise ValueError(
                    f"the adapter's `local_image_size` {side} must be a multiple of the local encoder's patch size "
                    f"{patch} and give at least {self.config.local_grid} patches a side."
                )

    def check_local_tokens(self, count: int, width: int) -> None:
        """Raise a ValueError unless local tokens of this number and width are what the adapter reads."""
        grid, expected = self.config.local_grid, self.resampler.local_width
        if count != grid**2 or width != expected:
            raise ValueError(
                f"this adapter reads {grid}·{grid} local tokens of width {expected} per object, got {count} of width "
                f"{width}. Encode the image prompts again, with the local encoder and `local_grid` of this adapter."
            )

    def forward(
        self,
        image_tokens: torch.Tensor,
        phrase_embeds: torch.Tensor,
        boxes: torch.Tensor,
        scales: torch.Tensor,
        local_tokens: torch.Tensor | None = None,
        drop_grounding: torch.Tensor | None = None,
        layer_scales: dict[str, float] | None = None,
    ) -> dict[int, torch.Tensor]:
        """Image K and V of every layer.

        Args:
            image_tokens: penultimate states of the image encoder, (B, N, T, E). Rows of absent objects may hold
                anything finite; `attention_masks` hides them.
            phrase_embeds: first text encoder's pooled output of each phrase, (B, N, ·).
            boxes: XYXY in [0, 1], (B, N, 4).
            scales: γ of each object, (B, N).
            local_tokens: (B, N, k·k, E'), or None.
            drop_grounding: bool, (B,): see `LocalTokenResampler`.
            layer_scales: path → factor of γ in that layer; None: 1 everywhere.
        Returns:
            {D: (2, layers of width D, B, S, D)}; index 0 of the first axis is K, 1 is γ·V.
        Raises:
            ValueError: local tokens of another number or width than the adapter was made for.
        """
        if local_tokens is not None:
            self.check_local_tokens(local_tokens.shape[-2], local_tokens.shape[-1])
        batch, objects = boxes.shape[:2]

        def rows(tensor):
            return None if tensor is None else tensor.flatten(0, 1)

        if drop_grounding is not None:
            drop_grounding = drop_grounding.repeat_interleave(objects)
        tokens = self.resampler(
            rows(image_tokens), rows(phrase_embeds), rows(boxes), rows(local_tokens), drop_grounding
        )
        tokens = tokens.unflatten(0, (batch, objects)).flatten(1, 2)
        weights = scales.to(tokens.dtype).repeat_interleave(self.tokens_per_object, dim=1)
        if self.acting_background_tokens:
            tokens = torch.cat([self.background_tokens.to(tokens.dtype).expand(batch, -1, -1), tokens], dim=1)
            background = weights.amax(1, keepdim=True).expand(-1, self.acting_background_tokens)
            weights = torch.cat([background, weights], dim=1)

        by_width: dict[int, list[torch.Tensor]] = {}
        for name, layer in self.layers.items():
            width = layer.to_k.out_features
            key, value = layer.to_k(tokens), layer.to_v(tokens) * weights[..., None]
            if layer_scales is not None:
                value = value * layer_scales[name.replace("-", ".")]
            by_width.setdefault(width, []).append(torch.stack([key, value]))
        return {width: torch.stack(layers, dim=1) for width, layers in by_width.items()}

    def attention_masks(
        self,
        boxes: torch.Tensor,
        present: torch.Tensor,
        height: int,
        width: int,
        levels: int,
        masks: Sequence[Sequence[torch.Tensor]] | None = None,
    ) -> dict[int, torch.Tensor]:
        """`token_masks` of every attention grid of a UNet.

        Args:
            boxes: (B, N, 4).
            present: bool, (B, N): False for the padding of samples with fewer objects.
            height, width: of the latents, in cells.
            levels: resolutions of the UNet.
            masks: pixel masks, bool (H, W), N of each sample, instead of the boxes.
        Returns:
            {P: bool (B, 1, P, S)}.
        """
        result = {}
        for h, w in attention_grids(height, width, levels):
            regions = box_masks(boxes, h, w) if masks is None else mask_regions(masks, h, w)
            regions = regions & present.to(regions.device)[..., None, None]
            # Two levels of one size (1 × 1) have equal masks, so one entry serves both.
            result[h * w] = token_masks(regions, self.tokens_per_object, self.acting_background_tokens)
        return result

    def automatic_layout(
        self, spans: torch.Tensor, attention_masks: dict[int, torch.Tensor], mask_threshold: float, start_step: int
    ) -> AutomaticLayout:
        """`AutomaticLayout` for this adapter's tokens; `attention_masks` act until `start_step`."""
        return AutomaticLayout(
            spans, attention_masks, mask_threshold, start_step, self.tokens_per_object, self.acting_background_tokens
        )
