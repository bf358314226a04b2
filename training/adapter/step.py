"""One adapter training step: image prompts beside the text in a frozen UNet, by MS-Diffusion's recipe.

Shape letters: B batch, N objects, T text or image tokens, C context width, E vision width, h w latent grid.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from accelerate.utils import extract_model_from_parallel
from diffusers import UNet2DConditionModel

from relationbooth_pipeline.relation_adapter import RelationAdapter
from relationbooth_pipeline.relation_rows import ImagePromptStates

from ..common.batch_order import Draw


@dataclass(frozen=True)
class Dropouts:
    """Probabilities of MS-Diffusion's recipe (Wang et al., 2025).

    Departs from its training code: dropped image prompts are zeros after the image encoder, not before it, and dropped
    text is zeros, as SDXL's empty negative prompt, not the encoded empty prompt.

    Attributes:
        image, text, both: that a sample's image and local tokens, its encoded text, or both become zeros.
        grounding: that learned queries replace those made of phrase and box, whatever else is dropped.
    """

    image: float = 0.05
    text: float = 0.05
    both: float = 0.05
    grounding: float = 0.10

    def draw(
        self, count: int, device: torch.device | str | None = None, generator: torch.Generator | None = None
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """(keep_image, keep_text, drop_grounding): bool (count,)."""
        share = torch.rand(count, device=device, generator=generator)
        both = (share >= self.image + self.text) & (share < self.image + self.text + self.both)
        keep_image, keep_text = share >= self.image, (share < self.image) | (share >= self.image + self.text)
        drop_grounding = torch.rand(count, device=device, generator=generator) < self.grounding
        return keep_image & ~both, keep_text & ~both, drop_grounding


def draw_dropped(dropouts: Dropouts, draws: list[Draw]) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """`Dropouts.draw` for each sample from its own draw's seed, whatever else is in its batch."""
    seeds = [draw.seed ^ 1 for draw in draws]  # not the noise's own
    rows = [dropouts.draw(1, generator=torch.Generator().manual_seed(seed)) for seed in seeds]
    return tuple(torch.cat(column) for column in zip(*rows))


def initialise_from_text(adapter: RelationAdapter, unet: UNet2DConditionModel) -> None:
    """Image K and V of every layer become copies of the text's, as IP-Adapter's training starts (Ye et al., 2023)."""
    with torch.no_grad():
        for path, layer in zip(adapter.config.layer_widths, adapter.layers.values()):
            attention = unet.get_submodule(path)
            layer.to_k.weight.copy_(attention.to_k.weight)
            layer.to_v.weight.copy_(attention.to_v.weight)


def predict(
    unet: UNet2DConditionModel,
    adapter: torch.nn.Module,
    batch: dict[str, torch.Tensor],
    noisy: torch.Tensor,
    timesteps: torch.Tensor,
    dropped: Sequence[torch.Tensor],
) -> torch.Tensor:
    """The UNet's output when it reads image prompts beside the text; γ = 1, as in MS-Diffusion's training.

    A dropped image prompt is not an absent one: its zeros still pass the resampler. Only where no object is `present`
    the UNet reads text alone.

    Args:
        unet: frozen, with `ParallelAttnProcessor`s.
        adapter: wrapped by accelerate or not; it alone gets a gradient.
        batch: context (B, T, C) and pooled (B, ·), the encoded text; time_ids (B, 6); image_tokens (B, N, T, E) and, if
            the adapter reads them, local_tokens (B, N, ·, E); phrase_embeds (B, N, ·); boxes (B, N, 4);
            present (B, N) bool.
        noisy: z_t, (B, ·, h, w).
        timesteps: int (B,).
        dropped: of `Dropouts.draw`.
    Returns:
        (B, ·, h, w), float32.
    """
    keep_image, keep_text, drop_grounding = dropped
    present, local_tokens = batch["present"], batch.get("local_tokens")
    kept, text = (keep.to(noisy.dtype) for keep in (keep_image.view(-1, 1, 1, 1), keep_text))
    layers = adapter(
        batch["image_tokens"] * kept,
        batch["phrase_embeds"],
        batch["boxes"],
        present.to(noisy.dtype),
        local_tokens=None if local_tokens is None else local_tokens * kept,
        drop_grounding=drop_grounding,
    )
    masks = extract_model_from_parallel(adapter).attention_masks(
        batch["boxes"], present, *noisy.shape[-2:], len(unet.config.block_out_channels)
    )
    return unet(
        noisy.to(unet.dtype),
        timesteps,
        (batch["context"] * text[:, None, None]).to(unet.dtype),
        added_cond_kwargs={"text_embeds": batch["pooled"] * text[:, None], "time_ids": batch["time_ids"]},
        cross_attention_kwargs={"ip_hidden_states": ImagePromptStates(layers, masks)},
    ).sample.float()
