"""What per-subject recipes share: photos as latents, the loss of a step, and the loop."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import torch
from diffusers import StableDiffusionXLPipeline
from PIL import Image

from ...common.diffusion import prediction_target, training_scheduler
from ...common.loop import TrainingDiverged
from ..stages.diffusion import encode_text, time_ids
from ..world.rendering import IMAGE_SIZE
from ..world.tokenizer import tokenize


@dataclass(frozen=True)
class Tuning:
    """One recipe's numbers.

    Attributes:
        steps, batch: of photos, drawn with replacement. learning_rate, weight_decay: of AdamW, constant.
        max_grad_norm: of all that trains together.
    """

    steps: int
    batch: int
    learning_rate: float
    weight_decay: float
    max_grad_norm: float = 1.0


@torch.no_grad()
def photo_latents(pipe: StableDiffusionXLPipeline, photos: Sequence[Image.Image]) -> torch.Tensor:
    """(B, 4, h, w): latents of photos at the picture's size, scaled by the VAE factor."""
    pixels = pipe.image_processor.preprocess(list(photos), IMAGE_SIZE, IMAGE_SIZE)
    return pipe.vae.encode(pixels).latent_dist.mean * pipe.vae.config.scaling_factor


def encoded(pipe: StableDiffusionXLPipeline, prompts: Sequence[str]) -> tuple[torch.Tensor, torch.Tensor]:
    """SDXL's context (B, T, C) and pooled text (B, D), with gradient where the text encoders have one."""
    ids = [tokenize(tokenizer, prompts) for tokenizer in (pipe.tokenizer, pipe.tokenizer_2)]
    if torch.equal(*ids):
        return encode_text(pipe.text_encoder, pipe.text_encoder_2, ids[0])
    first, _ = encode_text(pipe.text_encoder, pipe.text_encoder_2, ids[0])
    second, pooled = encode_text(pipe.text_encoder, pipe.text_encoder_2, ids[1])
    half = pipe.text_encoder.config.hidden_size
    return torch.cat([first[..., :half], second[..., half:]], -1), pooled


class Denoising:
    """The denoising loss of diffusers' scripts: uniform timesteps, squared error of the scheduler's own target.

    Args:
        generator: of timesteps and noise.
    """

    def __init__(self, pipe: StableDiffusionXLPipeline, generator: torch.Generator):
        self.unet, self.generator = pipe.unet, generator
        self.scheduler = training_scheduler(pipe.scheduler.config)

    def __call__(self, latents: torch.Tensor, context: torch.Tensor, pooled: torch.Tensor) -> torch.Tensor:
        """(B,): mean over each sample."""
        count = len(latents)
        timesteps = torch.randint(0, self.scheduler.config.num_train_timesteps, (count,), generator=self.generator)
        noise = torch.randn(latents.shape, generator=self.generator)
        noisy = self.scheduler.add_noise(latents, noise, timesteps)
        conditions = {"text_embeds": pooled, "time_ids": time_ids(count)}
        output = self.unet(noisy, timesteps, context, added_cond_kwargs=conditions).sample
        target = prediction_target(self.scheduler, latents, noise, timesteps)
        return (output - target).square().mean((1, 2, 3))


def tune(parameters: Iterable[torch.nn.Parameter], loss_of: Callable[[], torch.Tensor], run: Tuning) -> None:
    """Minimise `loss_of()`, which draws its own batch.

    Raises:
        TrainingDiverged: a loss is not finite.
    """
    parameters = list(parameters)
    optimizer = torch.optim.AdamW(parameters, lr=run.learning_rate, weight_decay=run.weight_decay)
    for step in range(run.steps):
        loss = loss_of()
        if not torch.isfinite(loss):
            raise TrainingDiverged(f"the loss of step {step + 1} is not finite. Lower `learning_rate`.")
        loss.backward()
        torch.nn.utils.clip_grad_norm_(parameters, run.max_grad_norm)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
