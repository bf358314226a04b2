"""What the latents look like, nearly, without the VAE: a linear map to colours, fitted once."""

import base64
import io

import torch
from diffusers import DiffusionPipeline
from PIL import Image

FIT_SIDE = 256  # pixels of the picture that the map is fitted on
PATCHES = 16  # coloured patches on a side of it
SIDE = 192  # pixels of the shown preview


class Preview:
    """rgb = (latent, 1) · M, with M from least squares between a picture of random patches and its latents.

    Noisy latents are first brought to the spread of clean ones; a preview becomes clear as the noise goes.
    """

    @torch.no_grad()
    def __init__(self, pipe: DiffusionPipeline):
        vae = pipe.vae
        dtype, patch = vae.dtype, FIT_SIDE // PATCHES
        colors = torch.rand(3, PATCHES, PATCHES, generator=torch.Generator().manual_seed(0))
        picture = colors.repeat_interleave(patch, 1).repeat_interleave(patch, 2)[None]
        if vae.config.force_upcast:
            vae.to(torch.float32)  # SDXL's VAE overflows in half precision; diffusers casts it for every decoding, too
        latents = vae.encode((2 * picture - 1).to(vae.device, vae.dtype)).latent_dist.mean.float().cpu()
        vae.to(dtype)
        latents = latents * vae.config.scaling_factor
        target = torch.nn.functional.interpolate(picture, latents.shape[-2:], mode="area")[0].flatten(1).T
        inputs = latents[0].flatten(1).T
        self.spread = inputs.std()
        self.map = torch.linalg.lstsq(torch.cat([inputs, torch.ones(len(inputs), 1)], 1), target).solution

    def data_url(self, latents: torch.Tensor) -> str:
        """A small JPEG of (1, C, h, w) latents, as a data URL; a PNG would be ten times as long."""
        values = latents[0].detach().float().cpu().flatten(1).T
        values = values * (self.spread / values.std().clamp(min=1e-6)).clamp(max=1)
        rgb = torch.cat([values, torch.ones(len(values), 1)], 1) @ self.map
        rgb = (rgb.clamp(0, 1) * 255).round().byte().view(*latents.shape[-2:], 3)
        picture = Image.fromarray(rgb.numpy())
        factor = SIDE / max(picture.size)
        size = [max(1, round(side * factor)) for side in picture.size]
        data = io.BytesIO()
        picture.resize(size, Image.Resampling.BICUBIC).save(data, "JPEG")
        return "data:image/jpeg;base64," + base64.b64encode(data.getvalue()).decode()
