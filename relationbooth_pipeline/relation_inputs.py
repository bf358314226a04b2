"""What a caller may pass for image prompts, checked and brought into one form before any heavy work."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from PIL import Image

from .relation_images import open_image
from .relation_regions import bounding_boxes, shrink_masks


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


def is_image(value) -> bool:
    return isinstance(value, (str, Image.Image)) or hasattr(value, "__fspath__")


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


def phrases_per_sample(phrases, counts: Sequence[int]) -> list[list[str]]:
    """One phrase per image prompt."""
    if isinstance(phrases, str):
        phrases = [phrases]
    if not isinstance(phrases, (list, tuple)):
        raise ValueError(f"`phrases` must name each image prompt (its noun, e.g. 'cat'), got {phrases!r}.")
    nested = not any(isinstance(phrase, str) for phrase in phrases)
    samples = [list(sample) for sample in per_sample("phrases", phrases, len(counts), nested)]
    _check_counts("phrases", samples, counts)
    for sample in samples:
        for phrase in sample:
            if not isinstance(phrase, str) or not phrase.strip():
                raise ValueError(f"`phrases` must be non-empty text, got {phrase!r}.")
    return samples


def boxes_per_sample(boxes, counts: Sequence[int]) -> list[list[list[float]]]:
    """XYXY boxes in [0, 1], one per image prompt."""
    boxes = boxes.tolist() if hasattr(boxes, "tolist") else boxes
    if not isinstance(boxes, (list, tuple)):
        raise ValueError(f"`boxes` must be a list of [x0, y0, x1, y1], one per image prompt, got {boxes!r}.")
    nested = _depth(boxes) > 2
    samples = [[_numbers("boxes", box) for box in sample] for sample in per_sample("boxes", boxes, len(counts), nested)]
    _check_counts("boxes", samples, counts)
    for sample in samples:
        for box in sample:
            check_box(box)
    return samples


def check_box(box: Sequence[float]) -> None:
    """Raise a ValueError unless `box` is XYXY in [0, 1] with a positive area."""
    if len(box) != 4 or not all(np.isfinite(box)):
        raise ValueError(f"`boxes` must hold four finite numbers [x0, y0, x1, y1] each, got {list(box)}.")
    if min(box) < 0 or max(box) > 1:
        raise ValueError(
            f"`boxes` must be XYXY in [0, 1], got {list(box)}. Divide pixel boxes by the image's width and height."
        )
    if box[0] >= box[2] or box[1] >= box[3]:
        raise ValueError(f"`boxes` must have x0 < x1 and y0 < y1, got {list(box)}. Give the top left corner first.")


def masks_per_sample(masks, counts: Sequence[int]) -> list[list[torch.Tensor]]:
    """Boolean masks (H, W), one per image prompt, from arrays, tensors or images; non-zero (above half) is inside."""
    if not isinstance(masks, (list, tuple)):
        raise ValueError(f"`masks` must be a list of masks, one per image prompt, got {type(masks).__name__}.")
    nested = isinstance(masks[0], (list, tuple)) if masks else False
    samples = [[_mask(mask) for mask in sample] for sample in per_sample("masks", masks, len(counts), nested)]
    _check_counts("masks", samples, counts)
    return samples


def _mask(mask) -> torch.Tensor:
    if isinstance(mask, torch.Tensor):  # numpy reads neither other devices nor bfloat16
        mask = mask.detach().cpu()
        mask = (mask.float() if mask.is_floating_point() else mask).numpy()
    values = np.asarray(open_image(mask).convert("L") if is_image(mask) else mask)
    if values.ndim != 2 or min(values.shape) < 1:
        raise ValueError(f"`masks` must be two-dimensional (H, W), got shape {values.shape}.")
    inside = torch.from_numpy(values > (127 if values.dtype == np.uint8 and values.max() > 1 else 0.5))
    if not inside.any():
        raise ValueError("`masks` must each cover at least one pixel, got an empty mask.")
    return inside


def scales_per_sample(scale, counts: Sequence[int]) -> list[list[float]]:
    """γ of every image prompt, from one number, one per object, or a list per prompt."""
    scale = scale.tolist() if hasattr(scale, "tolist") else scale
    if isinstance(scale, (int, float)):
        samples = [[float(scale)] * count for count in counts]
    else:
        nested = _depth(scale) > 1
        samples = [
            _numbers("image_prompt_scale", s) for s in per_sample("image_prompt_scale", scale, len(counts), nested)
        ]
        _check_counts("image_prompt_scale", samples, counts)
    if not all(np.isfinite(value) for sample in samples for value in sample):
        raise ValueError(f"`image_prompt_scale` must be finite, got {scale!r}.")
    return samples


def pad_boxes(samples: Sequence[Sequence[Sequence[float]]]) -> torch.Tensor:
    """(B, N, 4) float32, zeros for the padding."""
    longest = max(map(len, samples))
    padded = [[*map(list, sample), *([[0.0] * 4] * (longest - len(sample)))] for sample in samples]
    return torch.tensor(padded, dtype=torch.float32)


def pad_scales(samples: Sequence[Sequence[float]]) -> torch.Tensor:
    """(B, N) float32, zeros for the padding."""
    longest = max(map(len, samples))
    return torch.tensor([[*sample, *([0.0] * (longest - len(sample)))] for sample in samples])


def pad_masks(
    samples: list[list[torch.Tensor]], height: int, width: int
) -> tuple[torch.Tensor, list[list[list[float]]]]:
    """Masks on the latent grid, bool (B, N, h, w), and their bounding boxes taken at full resolution."""
    longest = max(map(len, samples))
    grid = torch.zeros(len(samples), longest, height, width, dtype=torch.bool)
    boxes = [[bounding_boxes(mask).tolist() for mask in sample] for sample in samples]
    for i, sample in enumerate(samples):
        for j, mask in enumerate(sample):
            grid[i, j] = shrink_masks(mask, height, width)
    return grid, boxes


def _check_counts(name: str, samples, counts: Sequence[int]) -> None:
    for i, (sample, count) in enumerate(zip(samples, counts)):
        if len(sample) != count:
            raise ValueError(
                f"`{name}` must have one entry per image prompt: prompt {i} has {count} image prompts and "
                f"{len(sample)} {name}."
            )


def _depth(values) -> int:
    depth = 0
    while isinstance(values, (list, tuple)) and values:
        # A sample without objects is an empty list: look at the first that has some.
        values = next((v for v in values if not isinstance(v, (list, tuple)) or v), values[0])
        depth += 1
    return depth


def _numbers(name: str, values) -> list[float]:
    try:
        return [float(value) for value in values]
    except (TypeError, ValueError) as error:
        raise ValueError(f"`{name}` must hold numbers, got {values!r}.") from error
