"""Pictures that every training run leaves: its loss curve, and validation pictures in folder and trackers."""

from pathlib import Path
from typing import Any

import numpy as np
import torch
from accelerate import Accelerator
from PIL import Image

from relationbooth_pipeline import RelationBoothPipeline
from relationbooth_pipeline.relation_images import open_image
from relationbooth_pipeline.triplets import Triplet

from .options import ValidationOptions

CURVE_SPAN = 20  # steps of the running mean in the loss curve
VALIDATION_STEPS = 30  # of denoising


def validation_prompts(
    validation: ValidationOptions, triplets: list[Triplet]
) -> tuple[list[Image.Image], list[str], list[list[float]] | None]:
    """(image prompts, phrases, boxes): the given ones, which have no boxes, or those of the first triplet."""
    if validation.validation_images:
        return [open_image(file) for file in validation.validation_images], validation.validation_phrases, None
    first = triplets[0]
    return [open_image(file) for file in first.image_prompts], first.phrases, first.boxes.tolist()


@torch.no_grad()
def draw_pictures(pipe: RelationBoothPipeline, validation: ValidationOptions, **conditioning: Any) -> list[Image.Image]:
    """`--num_validation_images` pictures of the validation prompt; picture k has seed + k.

    Args:
        conditioning: further arguments of the pipeline's call.
    """
    rescale = 0.5 if pipe.scheduler.config.get("rescale_betas_zero_snr") else 0.0
    return [
        pipe(
            validation.validation_prompt,
            height=validation.resolution,
            width=validation.resolution,
            num_inference_steps=VALIDATION_STEPS,
            guidance_scale=validation.validation_guidance_scale,
            guidance_rescale=rescale,
            generator=torch.Generator().manual_seed(validation.seed + k),
            **conditioning,
        ).images[0]
        for k in range(validation.num_validation_images)
    ]


def log_validation(accelerator: Accelerator, pictures: dict[str, list[Image.Image]], step: int, folder: Path) -> None:
    """PNG files in `folder`/validation, and the same to the trackers."""
    (folder / "validation").mkdir(exist_ok=True)
    for name, images in pictures.items():
        for k, image in enumerate(images):
            image.save(folder / "validation" / f"step_{step}_{name}_{k}.png")
    arrays = {name: np.stack([np.asarray(image) for image in images]) for name, images in pictures.items()}
    for tracker in accelerator.trackers:
        layout = {"dataformats": "NHWC"} if tracker.name == "tensorboard" else {}
        tracker.log_images(arrays, step, **layout)


def plot_losses(history: list[dict[str, float]], path: Path) -> None:
    """The loss and its parts over the steps, each with a running mean."""
    from matplotlib.figure import Figure

    names = [name for name in history[0] if any(row[name] for row in history)]
    figure = Figure(figsize=(8, 2.4 * len(names)), layout="constrained")
    steps = range(1, len(history) + 1)
    for axes, name in zip(figure.subplots(len(names), sharex=True, squeeze=False)[:, 0], names):
        values = [row[name] for row in history]
        means = [sum(values[max(0, i - CURVE_SPAN) : i]) / min(i, CURVE_SPAN) for i in steps]
        axes.plot(steps, values, color="#9aa0a6", linewidth=0.7, label="step")
        axes.plot(steps, means, color="#1a73e8", linewidth=1.6, label=f"mean of {CURVE_SPAN} steps")
        axes.set_ylabel(name)
        axes.spines[["top", "right"]].set_visible(False)
    axes.set_xlabel("step")
    figure.axes[0].legend(frameon=False, loc="upper right")
    figure.savefig(path, dpi=120)
