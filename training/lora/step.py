"""One RelationLoRA training step: noise, UNet, and the losses of a batch.

Shape letters: B batch, C latent channels, h w latent grid, P positions, T text tokens.
"""

import torch
from diffusers import DDPMScheduler, UNet2DConditionModel

from relationbooth_pipeline.relation_attention import cross_attention_layers
from relationbooth_pipeline.relation_regions import attention_grids
from relationbooth_pipeline.relation_rows import ImagePromptStates

from ..common.diffusion import denoising_loss, prediction_target
from .cache import CachedView
from .loss_terms import LOSS_TERMS, LossSettings, Step
from .losses import predict_clean_latents, relation_loss

LORA_LAYERS = ("to_q", "to_k", "to_v", "to_out.0")  # of every text cross-attention (RelationBooth, 3.4.1)
LARGEST_ATTENTION_GRID = 32 * 32  # positions; finer maps do not enter the predicate attention loss, as released


def lora_target_modules(unet: UNet2DConditionModel) -> list[str]:
    """Paths of the layers that get a LoRA."""
    return [f"{path}.{layer}" for path in cross_attention_layers(unet) for layer in LORA_LAYERS]


def lora_parameter_count(unet: UNet2DConditionModel, rank: int) -> int:
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

    def __init__(self, unet: UNet2DConditionModel):
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
    unet: torch.nn.Module,
    batch: CachedView,
    noise: torch.Tensor,
    posterior_noise: torch.Tensor,
    timesteps: torch.Tensor,
    scheduler: DDPMScheduler,
    settings: LossSettings,
    attention: PredicateAttention | None = None,
) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
    """Loss of a batch and its parts.

    Args:
        unet: the model, wrapped or not; its conditioning comes from `batch`.
        noise, posterior_noise: (B, C, h, w): ε of the forward process, and of the VAE posterior's sample.
        timesteps: int, (B,).
        scheduler: from `training_scheduler`.
        attention: needed when a loss in force reads attention maps (`wants_attention`).
    Returns:
        (scalar, {"loss", "denoising" and the name of every loss in `LOSS_TERMS`: (B,) each, detached}).
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
    maps = [] if attention is None else attention.maps
    step = Step(batch, timesteps, scheduler.config.num_train_timesteps - 1, clean, output - target, maps, settings)
    return add_terms(denoising, step)


def add_terms(denoising: torch.Tensor, step: Step) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
    """The denoising loss, (B,), and every loss of `LOSS_TERMS` together; returns as `step_losses`."""
    weights = [getattr(step.settings, term.weight) for term in LOSS_TERMS]
    terms = [
        torch.zeros_like(denoising) if term.wants_attention and not weight else term.value(step)
        for term, weight in zip(LOSS_TERMS, weights)
    ]
    each = relation_loss(denoising, terms, weights)
    parts = {"loss": each, "denoising": denoising, **{term.name: value for term, value in zip(LOSS_TERMS, terms)}}
    return each.mean(), {name: value.detach() for name, value in parts.items()}
