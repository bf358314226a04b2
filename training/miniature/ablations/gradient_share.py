"""How much of the gradient a keypoint loss is: λ says nothing before that is known."""

import torch
from accelerate import PartialState

from ...common.batch_order import BatchOrder, noise_and_timesteps
from ...common.diffusion import training_scheduler
from ...common.options import options
from ...lora.arguments import RelationLoraOptions, load_triplets, parse_arguments
from ...lora.cache import collate, encode_triplets
from ...lora.loss_terms import LossSettings
from ...lora.step import step_losses
from ...train_relation_lora_sdxl import add_lora, load_pipeline
from ..measure.cases import stored

BATCHES = 16


def keypoint_weight(arguments: list[str], share: float, path, batches: int = BATCHES) -> float:
    """λ with which the keypoint loss has a `share` of the gradient's norm.

        λ = share · mean ‖∇L_denoise‖ / mean ‖∇L_keypoint‖

    Args:
        arguments: of `train_relation_lora_sdxl.py`: they name the loss and its timesteps.
        share: at least 0. path: file where the two means are kept.
        batches: of the training's own order, over which the means go; the LoRA is as new.
    Raises:
        ValueError: no keypoint is visible, or no timestep is within the limit, so no λ gives a share.
    """
    norms = stored(path, lambda: gradient_norms(arguments, batches))
    if not norms["keypoint"]:
        raise ValueError(
            f"`share` {share:g} cannot be reached: the keypoint loss is 0 in all {batches} batches. Its keypoints are "
            "invisible, or `--kml_max_timestep` leaves nothing."
        )
    return share * norms["denoising"] / norms["keypoint"]


def gradient_norms(arguments: list[str], batches: int) -> dict[str, float]:
    """{"denoising", "keypoint": mean norm of the loss's gradient over all weights of the LoRA}."""
    PartialState()  # the training program's log wants it
    run = options(RelationLoraOptions, parse_arguments(arguments))
    triplets, loop, views = load_triplets(run), run.loop, run.views
    pipe = load_pipeline(run.base, run.adapter, torch.float32)
    cached = encode_triplets(pipe, triplets, views, loop.seed, run.lora.image_prompt_scale)
    trained, scheduler = add_lora(pipe.unet, run.lora.rank, loop.seed), training_scheduler(pipe.scheduler.config)
    order = BatchOrder([drawn[0].size for drawn in cached], views.views_per_triplet, loop.train_batch_size, loop.seed)
    limits = {"keypoint_loss": run.losses.keypoint_loss, "kml_max_timestep": run.losses.kml_max_timestep}
    norms = {"denoising": 0.0, "keypoint": 0.0}
    for step in range(batches):
        draws = order.batch(step)
        batch = collate([cached[draw.item][draw.view] for draw in draws])
        noise = noise_and_timesteps(draws, batch.latent_mean.shape[1:], scheduler.config.num_train_timesteps)

        def gradient(weight, batch=batch, noise=noise):
            loss, _ = step_losses(pipe.unet, batch, *noise, scheduler, LossSettings(kml_weight=weight, **limits))
            return torch.cat([part.flatten() for part in torch.autograd.grad(loss, trained)])

        denoising = gradient(0.0)
        norms["denoising"] += denoising.norm().item() / batches
        norms["keypoint"] += (gradient(1.0) - denoising).norm().item() / batches
    return norms
