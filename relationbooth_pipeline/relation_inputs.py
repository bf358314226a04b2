"""Image prompts, phrases and strengths as callers give them, checked and brought into one form before heavy work."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from PIL import Image

from .relation_images import is_image, open_image


@dataclass
class EncodedImagePrompts:
    """Image prompts after the encoders; can be kept and passed again in place of the images.

    Shapes: B batch, N most objects of a sample, T image tokens, T' local tokens, E vision width, D phrase width.

    Attributes:
        image_tokens: (B, N, T, E).
        phrase_embeds: (B, N, D).
        present: bool, (B, N): False for padding.
        local_tokens: (B, N, T', E), or None without local image encoder.
        phrases: per sample; needed again by automatic layout only.
    """

    image_tokens: torch.Tensor
    phrase_embeds: torch.Tensor
    present: torch.Tensor
    local_tokens: torch.Tensor | None = None
    phrases: list[list[str]] | None = None

    @property
    def counts(self) -> list[int]:
        return self.present.sum(1).tolist()


def images_per_sample(image_prompts, batch_size: int) -> list[list[Image.Image]]:
    """Opened RGB images, one list per prompt, from one image, a list (one prompt), or a list of lists (a batch)."""
    if is_image(image_prompts):
        image_prompts = [image_prompts]
    if not isinstance(image_prompts, (list, tuple)) or not image_prompts:
        raise ValueError(
            f"`image_prompts` must be a list of images, or one such list per prompt, got "
            f"{type(image_prompts).__name__} "
            "that is empty or no list. Leave it out to generate without image prompts."
        )
    samples = per_sample("image_prompts", image_prompts, batch_size, nested=not is_image(image_prompts[0]))
    for i, sample in enumerate(samples):
        if not isinstance(sample, (list, tuple)) or not all(map(is_image, sample)):
            raise ValueError(f"`image_prompts` of prompt {i} must be a list of paths or PIL images, got {sample!r}.")
    if not any(samples):
        raise ValueError("`image_prompts` holds no image. Leave it out to generate without image prompts.")
    return [[open_image(image) for image in sample] for sample in samples]


def phrases_per_sample(phrases, counts: Sequence[int]) -> list[list[str]]:
    """One phrase per image prompt."""
    if isinstance(phrases, str):
        phrases = [phrases]
    if not isinstance(phrases, (list, tuple)):
        raise ValueError(f"`phrases` must name each image prompt (its noun, e.g. 'cat'), got {phrases!r}.")
    nested = not any(isinstance(phrase, str) for phrase in phrases)
    samples = [list(sample) for sample in per_sample("phrases", phrases, len(counts), nested)]
    check_counts("phrases", samples, counts)
    for sample in samples:
        for phrase in sample:
            if not isinstance(phrase, str) or not phrase.strip():
                raise ValueError(f"`phrases` must be non-empty text, got {phrase!r}.")
    return samples


def scales_per_sample(scale, counts: Sequence[int]) -> list[list[float]]:
    """γ of every image prompt, from one number, one per object, or a list per prompt."""
    scale = scale.tolist() if hasattr(scale, "tolist") else scale
    if isinstance(scale, (int, float)):
        samples = [[float(scale)] * count for count in counts]
    else:
        nested = depth(scale) > 1
        samples = [
            numbers("image_prompt_scale", s) for s in per_sample("image_prompt_scale", scale, len(counts), nested)
        ]
        check_counts("image_prompt_scale", samples, counts)
    if not all(np.isfinite(value) for sample in samples for value in sample):
        raise ValueError(f"`image_prompt_scale` must be finite, got {scale!r}.")
    return samples


def pad_scales(samples: Sequence[Sequence[float]]) -> torch.Tensor:
    """(B, N) float32, zeros for the padding."""
    longest = max(map(len, samples))
    return torch.tensor([[*sample, *([0.0] * (longest - len(sample)))] for sample in samples])


def per_sample(name: str, values, batch_size: int, nested: bool) -> list:
    """One entry per prompt: `values` itself when nested, else the single entry of the single prompt."""
    if not nested:
        if batch_size != 1:
            raise ValueError(
                f"`{name}` must hold one list per prompt when there are several prompts, got a flat list for "
                f"{batch_size} prompts. Nest it: [[…], […]]."
            )
        return [values]
    if len(values) != batch_size:
        raise ValueError(f"`{name}` must hold one list per prompt: got {len(values)} lists for {batch_size} prompts.")
    return list(values)


def check_counts(name: str, samples, counts: Sequence[int]) -> None:
    for i, (sample, count) in enumerate(zip(samples, counts)):
        if len(sample) != count:
            raise ValueError(
                f"`{name}` must have one entry per image prompt: prompt {i} has {count} image prompts and "
                f"{len(sample)} {name}."
            )


def depth(values) -> int:
    found = 0
    while isinstance(values, (list, tuple)) and values:
        # A sample without objects is an empty list: look at the first that has some.
        values = next((v for v in values if not isinstance(v, (list, tuple)) or v), values[0])
        found += 1
    return found


def numbers(name: str, values) -> list[float]:
    try:
        return [float(value) for value in values]
    except (TypeError, ValueError) as error:
        raise ValueError(f"`{name}` must hold numbers, got {values!r}.") from error
