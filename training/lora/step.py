"""One RelationLoRA training step: noise, UNet, and the three losses of a batch.

Shape letters: B batch, C latent channels, h w latent grid, P positions, T text tokens.
"""

from dataclasses import dataclass

import torch

from relationbooth_pipeline.relation_attention import cross_attention_layers
from relationbooth_pipeline.relation_regions import attention_grids
from relationbooth_pipeline.relation_rows import ImagePromptStates

from ..common.diffusion import denoising_loss, prediction_target
from .cache import CachedView
from .losses import (
    keypoint_matching_loss,
    predicate_attention_loss,
    predict_clean_latents,
    relation_loss,
    timestep_gate,
)

LORA_LAYERS = ("to_q", "to_k", "to_v", "to_out.0")  # of every text cross-attention (RelationBooth, 3.4.1)
LARGEST_ATTENTION_GRID = 32 * 32  # positions; finer maps do not enter the predicate attention loss, as released


@dataclass
class LossSettings:
    """Weights of the losses.

    Attributes:
        kml_weight: λ (RelationBooth, Eq. 7).
        kml_max_timestep: KML acts on samples up to this timestep; None: on all, as in the paper.
        predicate_attention_weight: 0 turns the predicate attention loss off, and its extra attention maps.
        snr_gamma: γ of min-SNR weights for the denoising loss (Hang et al., 2023); None: all ones. KML keeps its own
            weight.
    """

    kml_weight: float = 1e-3
    kml_max_timestep: int | None = None
    predicate_attention_weight: float = 0.0
    snr_gamma: float | None = None


def lora_target_modules(unet) -> list[str]:
    """Paths of the layers that get a LoRA."""
    return [f"{path}.{layer}" for path in cross_attention_layers(unet) for layer in LORA_LAYERS]


def lora_parameter_count(unet, rank: int) -> int:
    """Σ rank·(inputs + outputs) over `lora_target_modules`; 3.1 M for SDXL and rank 4."""
    linears = [unet.get_submodule(path) for path in lora_target_modules(unet)]
    return sum(rank * (layer.in_features + layer.out_features) for layer in linears)


class PredicateAttention:
    """Collects the predicate's text attention of the layers with coarse grids.

    It recomputes the text scores in hooks, so attention processors stay as they are. The hooks stay until `remove`:
    gradient checkpointing runs the layers a second time, and must find the same operations.

    Args:
        unet: unwrapped.
    Attributes:
        maps: since `start`; mean over the predicate's tokens and the heads, one (B, h', w') per layer.
    """

    def __init__(self, unet):
        self.levels = len(unet.config.block_out_channels)
        layers = [unet.get_submodule(path) for path in cross_attention_layers(unet)]
        self.handles = [layer.register_forward_hook(self._record, with_kwargs=True) for layer in layers]

    def start(self, spans: torch.Tensor, size: tuple[int, int]) -> None:
        """Forget the maps.

        Args:
            spans: [start, end) of each predicate's tokens, int (B, 2).
            size: (h, w) of the latents.
        """
        self.spans, self.maps = spans, []
        self.grids = {h * w: (h, w) for h, w in attention_grids(*size, self.levels)}

    def remove(self) -> None:
        for handle in self.handles:
            handle.remove()

    def _record(self, attn, inputs, kwargs, output) -> None:
        hidden_states, text = inputs[0], kwargs["encoder_hidden_states"]
        batch, positions, _ = hidden_states.shape
        if positions > LARGEST_ATTENTION_GRID or not torch.is_grad_enabled():  # validation pictures record nothing
            return
        query, key = attn.head_to_batch_dim(attn.to_q(hidden_states)), attn.head_to_batch_dim(attn.to_k(text))
        scores = ((query * attn.scale) @ key.transpose(1, 2)).float().softmax(-1).unflatten(0, (batch, attn.heads))
        token = torch.arange(scores.shape[-1], device=scores.device)
        start, end = (edge[:, None] for edge in self.spans.to(scores.device).unbind(-1))
        chosen = ((token >= start) & (token < end)).float()
        weights = chosen / chosen.sum(-1, keepdim=True).clamp(min=1)
        attention = torch.einsum("bhpt,bt->bp", scores, weights) / attn.heads
        self.maps.append(attention.unflatten(1, self.grids[positions]))


def step_losses(
    unet,
    batch: CachedView,
    noise,
    posterior_noise,
    timesteps,
    scheduler,
    settings: LossSettings,
    attention: PredicateAttention | None = None,
) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
    """Loss of a batch and its parts.

    Args:
        unet: the model, wrapped or not; its conditioning comes from `batch`.
        noise, posterior_noise: (B, C, h, w): ε of the forward process, and of the VAE posterior's sample.
        timesteps: int, (B,).
        scheduler: from `training_scheduler`.
        attention: needed when `predicate_attention_weight` is not 0.
    Returns:
        (scalar, {"loss", "denoising", "keypoint", "predicate": (B,) each, detached}).
    """
    latents = batch.latent_mean + batch.latent_std * posterior_noise
    noisy = scheduler.add_noise(latents, noise, timesteps)
    kind = scheduler.config.prediction_type
    target = prediction_target(scheduler, latents, noise, timesteps)
    if attention is not None:
        attention.start(batch.predicate, batch.size)
    output = unet(
        noisy.to(batch.text.dtype),
        timesteps,
        encoder_hidden_states=batch.text,
        added_cond_kwargs={"text_embeds": batch.pooled, "time_ids": batch.time_ids},
        cross_attention_kwargs={"ip_hidden_states": ImagePromptStates(batch.ip_hidden_states, batch.ip_adapter_masks)},
        return_dict=False,
    )[0].float()
    denoising = denoising_loss(output, target, timesteps, scheduler, settings.snr_gamma)
    clean = predict_clean_latents(noisy, output, timesteps, scheduler.alphas_cumprod, kind)
    keypoint = keypoint_matching_loss(clean, batch.prompt_features, batch.keypoints, batch.is_visible)
    last = scheduler.config.num_train_timesteps - 1
    gate = timestep_gate(timesteps, last if settings.kml_max_timestep is None else settings.kml_max_timestep)
    loss = relation_loss(denoising, keypoint, gate, settings.kml_weight)
    predicate = torch.zeros_like(denoising)
    if attention is not None:
        predicate = predicate_attention_loss(attention.maps, batch.objects)
        loss = loss + settings.predicate_attention_weight * predicate.mean()
    each = denoising + settings.kml_weight * gate * keypoint + settings.predicate_attention_weight * predicate
    parts = {"loss": each, "denoising": denoising, "keypoint": gate * keypoint, "predicate": predicate}
    return loss, {name: value.detach() for name, value in parts.items()}
