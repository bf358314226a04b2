"""The forward process: schedule, target and denoising loss of every training program.

Shape letters: B batch, C latent channels, h w latent grid.
"""

import torch
from diffusers import DDPMScheduler
from diffusers.training_utils import compute_snr


def training_scheduler(config: dict) -> DDPMScheduler:
    """The noise schedule to train on, from a pipeline's scheduler config.

    Raises:
        ValueError: an EDM-style or flow-matching scheduler, whose noise is no mixture by ᾱ_t.
    """
    name, kind = config.get("_class_name", ""), config.get("prediction_type", "epsilon")
    if "EDM" in name or "Flow" in name or kind not in ("epsilon", "v_prediction", "sample"):
        raise ValueError(
            f"the base model's scheduler must be trained on epsilon, v_prediction or sample, got {name} with "
            f"`prediction_type` {kind!r}. EDM-style and flow-matching bases are not supported; use SDXL base 1.0 or a "
            "fine-tuned model of its kind."
        )
    return DDPMScheduler.from_config(config)


def prediction_target(
    scheduler: DDPMScheduler, latents: torch.Tensor, noise: torch.Tensor, timesteps: torch.Tensor
) -> torch.Tensor:
    """What the UNet should answer: noise, velocity or latents, as the scheduler's `prediction_type` says."""
    target = {"epsilon": noise, "sample": latents}.get(scheduler.config.prediction_type)
    return scheduler.get_velocity(latents, noise, timesteps) if target is None else target


def denoising_loss(
    output: torch.Tensor,
    target: torch.Tensor,
    timesteps: torch.Tensor,
    scheduler: DDPMScheduler,
    snr_gamma: float | None,
) -> torch.Tensor:
    """Mean squared error of each sample, (B,), weighted by min-SNR (Hang et al., 2023) when `snr_gamma` is given.

        min(SNR, γ) / SNR for epsilon, / (SNR + 1) for v_prediction, min(SNR, γ) for sample

    Args:
        output, target: (B, C, h, w). timesteps: int (B,).
        snr_gamma: γ, greater than 0: at 0 every sample would weigh nothing.
    """
    loss = (output.float() - target.float()).square().mean((1, 2, 3))
    if snr_gamma is None:
        return loss
    snr = compute_snr(scheduler, timesteps)
    divisor = {"epsilon": snr, "v_prediction": snr + 1, "sample": torch.ones_like(snr)}
    weight = snr.clamp(max=snr_gamma) / divisor[scheduler.config.prediction_type]
    # At zero terminal SNR the ratio is 0/0; its limit is 1 for epsilon, and the others are finite.
    return loss * weight.nan_to_num(1.0)
