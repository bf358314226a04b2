"""Image prompts, phrases and strengths as callers give them, checked and brought into one form before heavy work."""

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
import torch
from PIL import Image

from .relation_images import is_image, open_image, short_repr


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
        """Image prompts of each sample."""
        return self.present.sum(1).tolist()

    def check_for(self, batch_size: int, phrases: Any) -> None:
        """Raise a ValueError unless they were encoded for so many prompts and, where given, for these phrases."""
        if len(self.counts) != batch_size:
            raise ValueError(f"`image_prompts` were encoded for {len(self.counts)} prompts, got {batch_size}.")
        if phrases is not None and phrases_per_sample(phrases, self.counts) != self.phrases:
            raise ValueError("`phrases` differ from those the image prompts were encoded with. Encode them again.")


@dataclass(frozen=True)
class ImagePromptInputs:
    """What a caller says about image prompts, under the names and with the defaults of
    `RelationBoothPipeline.__call__`, which tells what each means."""

    image_prompts: Any
    phrases: Any = None
    boxes: Any = None
    masks: Any = None
    image_prompt_scale: Any = None
    block_scales: dict | None = None
    image_prompt_start: float = 0.0
    image_prompt_end: float = 1.0
    automatic_layout: bool = False
    mask_threshold: float = 0.5
    layout_start_step: int = 5
    drop_grounding: bool = False

    def check_empty(self) -> None:
        """Raise a ValueError when something is said about image prompts although there are none."""
        values = {field.name: (getattr(self, field.name), field.default) for field in fields(self)[1:]}
        said = [  # a tensor has no truth value, so only numbers are compared
            f"`{name}`"
            for name, (value, default) in values.items()
            if (value is not None if default is None else value != default)
        ]
        if said:
            raise ValueError(f"{', '.join(said)} given without `image_prompts`. Pass both or neither.")

    def check_uncounted(self, pipeline: str) -> None:
        """Raise a ValueError for what depends on the number of steps, which `pipeline`, a class's name, does not tell:
        image prompts could act at other steps than asked for, or never."""
        if (self.image_prompt_start, self.image_prompt_end) != (0, 1):
            raise ValueError(f"{pipeline} does not tell its steps: leave `image_prompt_start` and `…_end` out.")
        if self.automatic_layout and self.boxes is None and self.masks is None:
            raise ValueError(
                f"{pipeline} does not tell its steps, so automatic layout might start too late: give `boxes` or "
                "`masks`, which act until then."
            )

    def check_numbers(self, prompt: str | list[str] | None) -> None:
        """Raise a ValueError for a number out of range or that nobody reads, or for automatic layout without text."""
        for name in ("image_prompt_start", "image_prompt_end", "mask_threshold"):
            if not hasattr(value := getattr(self, name), "__float__"):  # None and texts, "0.5" too, have none
                raise ValueError(f"`{name}` must be a number, got {short_repr(value)}.")
        if not 0 <= self.image_prompt_start < self.image_prompt_end <= 1:
            rule = "must be shares of the steps, 0 ≤ start < end ≤ 1"
            got = f"{self.image_prompt_start} and {self.image_prompt_end}"
            raise ValueError(f"`image_prompt_start` and `image_prompt_end` {rule}, got {got}.")
        if not self.automatic_layout:
            for name in ("mask_threshold", "layout_start_step"):
                if getattr(self, name) != getattr(type(self), name):
                    raise ValueError(f"`{name}` is of automatic layout. Give `automatic_layout=True`, or leave it out.")
            return
        if prompt is None:
            raise ValueError("automatic layout finds phrases in `prompt`: pass the text, not `prompt_embeds`.")
        if not 0 <= self.mask_threshold <= 1:
            raise ValueError(f"`mask_threshold` must be in [0, 1], got {self.mask_threshold}.")
        if not isinstance(self.layout_start_step, int) or self.layout_start_step < 1:
            raise ValueError(f"`layout_start_step` must be an integer ≥ 1, got {self.layout_start_step!r}.")


def images_per_sample(image_prompts: Any, batch_size: int) -> list[list[Image.Image]]:
    """Opened RGB images, one list per prompt, from one image, a list (one prompt), or a list of lists (a batch).

    Raises:
        ValueError: something that is no path and no PIL image, no image at all, or not one list per prompt.
    """
    if is_image(image_prompts):
        image_prompts = [image_prompts]
    if not isinstance(image_prompts, (list, tuple)):
        raise ValueError(
            f"`image_prompts` must be a list of paths or PIL images, or one such list per prompt, got "
            f"{short_repr(image_prompts)}. Turn arrays and tensors into PIL images."
        )
    samples = per_sample("image_prompts", image_prompts, batch_size, _is_nested(image_prompts))
    for i, sample in enumerate(samples):
        wrong = next((image for image in sample if not is_image(image)), None)
        if not all(map(is_image, sample)):
            raise ValueError(
                f"`image_prompts` of prompt {i} must be paths or PIL images, got {short_repr(wrong)}. Turn arrays and "
                "tensors into PIL images."
            )
    if not any(samples):
        raise ValueError("`image_prompts` holds no image. Leave it out to generate without image prompts.")
    return [[open_image(image) for image in sample] for sample in samples]


def phrases_per_sample(phrases: Any, counts: Sequence[int]) -> list[list[str]]:
    """One phrase per image prompt.

    Args:
        counts: image prompts of each prompt.
    Raises:
        ValueError: no text, an empty one, or another number than image prompts.
    """
    if isinstance(phrases, str):
        phrases = [phrases]
    if not isinstance(phrases, (list, tuple)):
        raise ValueError(f"`phrases` must name each image prompt (its noun, e.g. 'cat'), got {short_repr(phrases)}.")
    samples = [list(sample) for sample in per_sample("phrases", phrases, len(counts), _is_nested(phrases))]
    for sample in samples:
        for phrase in sample:
            if not isinstance(phrase, str) or not phrase.strip():
                raise ValueError(f"`phrases` must be non-empty text, got {short_repr(phrase)}.")
    check_counts("phrases", samples, counts)
    return samples


def _is_nested(values: Sequence) -> bool:
    """Whether `values` holds one list per prompt; a mixture counts as flat, and its lists are then refused."""
    return bool(values) and all(isinstance(value, (list, tuple)) for value in values)


def scales_per_sample(scale: Any, counts: Sequence[int], own: float | list[float] | None = None) -> list[list[float]]:
    """γ of every image prompt, from one number, one per object, or a list per prompt; None: `own_scale`'s."""
    if scale is None and isinstance(own, list) and list(counts) != [len(own)]:
        rule = f"`set_image_prompt_scale` set {len(own)} numbers, for as many image prompts of one prompt"
        raise ValueError(f"{rule}, and this call has {' and '.join(map(str, counts))}. Give it `image_prompt_scale`.")
    scale = own if scale is None else scale
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
        raise ValueError(f"`image_prompt_scale` must be finite, got {short_repr(scale)}.")
    return samples


def own_scale(scale: Any) -> float | list[float]:
    """γ for later calls with one prompt, checked and copied: one number, or one per object."""
    scale = scale.tolist() if hasattr(scale, "tolist") else scale
    is_list = hasattr(scale, "__len__")
    (sample,) = scales_per_sample(scale, [len(scale) if is_list else 1])
    return sample if is_list else sample[0]


def pad_scales(samples: Sequence[Sequence[float]]) -> torch.Tensor:
    """(B, N) float32, zeros for the padding."""
    longest = max(map(len, samples))
    return torch.tensor([[*sample, *([0.0] * (longest - len(sample)))] for sample in samples])


def per_sample(name: str, values: Any, batch_size: int, nested: bool) -> list:
    """One entry per prompt: `values` itself when nested, else the single entry of the single prompt."""
    if not nested:
        if batch_size != 1:
            rule = f"`{name}` must hold one list per prompt when there are several prompts"
            raise ValueError(f"{rule}, got a flat list for {batch_size} prompts. Nest it: [[…], […]].")
        return [values]
    if len(values) != batch_size:
        raise ValueError(f"`{name}` must hold one list per prompt: got {len(values)} lists for {batch_size} prompts.")
    return list(values)


def check_counts(name: str, samples: Sequence[Sequence], counts: Sequence[int]) -> None:
    for i, (sample, count) in enumerate(zip(samples, counts)):
        if len(sample) != count:
            told = f"prompt {i} has {count} image prompts and {len(sample)} {name}"
            raise ValueError(f"`{name}` must have one entry per image prompt: {told}.")


def depth(values: Any) -> int:
    found = 0
    while isinstance(values, (list, tuple)) and values:
        # A sample without objects is an empty list: look at the first that has some.
        values = next((v for v in values if not isinstance(v, (list, tuple)) or v), values[0])
        found += 1
    return found


def numbers(name: str, values: Any) -> list[float]:
    try:
        return [float(value) for value in values]
    except (TypeError, ValueError) as error:
        raise ValueError(f"`{name}` must hold numbers, got {short_repr(values)}.") from error


OTHER_UNET = (
    "these image prompts were prepared for another UNet than the one that is to draw, which would ignore them. Build "
    "the other pipeline around this UNet, `Other(**pipe.sdxl_components, …)`, and call `pipe.draw_through(other, …)`."
)


class ImagePromptKwargs(dict):
    """`cross_attention_kwargs` with image prompts, which only a UNet prepared for them opens.

    Diffusers would pass them silently to processors that ignore them. But every UNet asks its
    `cross_attention_kwargs` for GLIGEN's entry, and one with our hook (`install_parallel_attention`) never asks this
    dictionary, since the hook has opened it: so whoever asks is another UNet.
    """

    def get(self, key: str, default: Any = None) -> Any:
        if key == "gligen":
            raise ValueError(OTHER_UNET)
        return super().get(key, default)

    def copy(self) -> "ImagePromptKwargs":
        return ImagePromptKwargs(self)
