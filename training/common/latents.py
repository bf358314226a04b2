"""From pixels and boxes to the latent grid: what every triplet's encoding needs.

Shape letters: N objects, C latent channels, h w latent grid.
"""

import torch
from diffusers import AutoencoderKL


def latent_posterior(vae: AutoencoderKL, pixels: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Mean and deviation of E(x), scaled by the VAE factor, float32."""
    posterior = vae.encode(pixels.to(vae.device, vae.dtype)).latent_dist
    factor = vae.config.scaling_factor
    return posterior.mean.float() * factor, posterior.std.float() * factor


def with_area(boxes: torch.Tensor, height: int, width: int) -> torch.Tensor:
    """Boxes (N, 4) that cover at least a cell of the latents: a crop may cut one away, the adapter wants an area."""
    cell = torch.tensor([1 / width, 1 / height])
    low = torch.minimum(boxes[:, :2], 1 - cell)
    return torch.cat([low, torch.maximum(boxes[:, 2:], low + cell).clamp(max=1)], dim=1)
