"""The diffusion process of base and adapter, and SDXL's conditioning: noise, timesteps, velocities, texts, sizes."""

import torch
from diffusers import DDIMScheduler

from ..world.rendering import IMAGE_SIZE

CROP_CELLS = 12  # side of the window, of 16


def build_scheduler():
    """SDXL's betas rescaled to a zero terminal signal-to-noise ratio, read from the last timestep on (Lin et al.)."""
    return DDIMScheduler(
        beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear", prediction_type="v_prediction",
        rescale_betas_zero_snr=True, timestep_spacing="trailing", clip_sample=False, set_alpha_to_one=True,
    )  # fmt: skip


def random_timesteps(count, device=None):
    """Three quarters logit-normal (mean 0.1, deviation 1.1) and one quarter uniform, as in the second study."""
    logit_normal = torch.sigmoid(torch.randn(count, device=device) * 1.1 + 0.1)
    share = torch.where(torch.rand(count, device=device) < 0.25, torch.rand(count, device=device), logit_normal)
    return (share * 1000).long().clamp(0, 999)


def noisy_and_velocity(latents, timesteps, alphas_cumprod):
    """z_t = sqrt(a) z + sqrt(1-a) e and v = sqrt(a) e - sqrt(1-a) z (Salimans and Ho, 2022), for fresh noise e."""
    noise = torch.randn_like(latents)
    signal = alphas_cumprod.to(latents.device)[timesteps].view(-1, 1, 1, 1)
    noisy = signal.sqrt() * latents + (1 - signal).sqrt() * noise
    return noisy, signal.sqrt() * noise - (1 - signal).sqrt() * latents


def time_ids(count, device=None, crop=(0, 0), side=IMAGE_SIZE):
    """SDXL's original size, crop (top, left) and target size; by default the whole native picture. (count, 6)."""
    original = float(IMAGE_SIZE)
    return torch.tensor([[original, original, *map(float, crop), side, side]], device=device).expand(count, 6)


def random_window(maps, rng):
    """The same window of latents and of what else has their cells, and its conditioning, time ids (B, 6).

    Args:
        maps: (..., 16, 16) each; the first counts for the conditioning's size and device.
    """
    count, device, cells = len(maps[0]), maps[0].device, maps[0].shape[-1]
    top, left = (rng.randrange(cells - CROP_CELLS + 1) for _ in range(2))
    windows = [of[..., top : top + CROP_CELLS, left : left + CROP_CELLS] for of in maps]
    cell = IMAGE_SIZE // cells
    return windows, time_ids(count, device, (cell * top, cell * left), float(cell * CROP_CELLS))


def encode_text(text_encoder, text_encoder_2, ids):
    """SDXL's context: penultimate states side by side (B, T, 256), and the second encoder's pooled output (B, 128)."""
    first = text_encoder(ids, output_hidden_states=True).hidden_states[-2]
    second = text_encoder_2(ids, output_hidden_states=True)
    return torch.cat([first, second.hidden_states[-2]], -1), second.text_embeds
