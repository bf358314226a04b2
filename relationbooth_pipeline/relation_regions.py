"""Where each object may act: boxes and masks as callers give them → boolean region masks on any attention grid;
and the header of a RelationLoRA, which may tell boxes.

Shape letters: B batch, N objects, L tokens per object, h w grid, P = h·w positions.
"""

import json
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file

from .relation_files import HEADER_KEY, whole_file
from .relation_images import read_mask, short_repr
from .relation_inputs import check_counts, depth, numbers, per_sample


def region_masks(boxes: torch.Tensor, height: int, width: int) -> torch.Tensor:
    """Cells of an h × w grid that each box touches.

        cell (r, c) belongs to a box  ⇔  ⌊x0·w⌋ ≤ c < ⌈x1·w⌉  and  ⌊y0·h⌋ ≤ r < ⌈y1·h⌉        (golden case `attention`)

    Args:
        boxes: XYXY in [0, 1], origin top left, (..., 4). A box without area, zeros for one, covers nothing, one of
            positive area a cell at least.
        height, width: grid size in cells.
    Returns:
        bool, (..., h, w).
    Departs from the reference: height and width are explicit, so grids need not be square; float32 throughout, since
    half precision moves an edge across a cell border; an edge within rounding of a border lies on it; a box without
    area covers nothing wherever it lies.
    """
    x0, y0, x1, y1 = boxes.float().unbind(-1)

    def on_grid(edge: torch.Tensor, size: int) -> torch.Tensor:
        place = edge * size
        return torch.where((place - place.round()).abs() < 3e-5, place.round(), place)  # 256 cells in float32

    def covered(start: torch.Tensor, stop: torch.Tensor, size: int) -> torch.Tensor:
        cells = torch.arange(size, device=boxes.device)
        first, last = on_grid(start, size).floor().clamp(max=size - 1), on_grid(stop, size).ceil()
        last = torch.where(stop > start, torch.maximum(last, first + 1), first)
        return (cells >= first[..., None]) & (cells < last[..., None])

    return covered(y0, y1, height)[..., :, None] & covered(x0, x1, width)[..., None, :]


def shrink_masks(masks: torch.Tensor, height: int, width: int) -> torch.Tensor:
    """Pixel masks on a grid: a cell belongs to a mask when any pixel that it touches does.

    This is `region_masks`' rule for any shape: a filled box gives the same cells either way.

    Args:
        masks: bool, (..., H, W).
    Returns:
        bool, (..., h, w).
    """
    flat = masks.reshape(-1, 1, *masks.shape[-2:]).float()
    return F.adaptive_max_pool2d(flat, (height, width)).bool().reshape(*masks.shape[:-2], height, width)


def bounding_boxes(masks: torch.Tensor) -> torch.Tensor:
    """Tight XYXY box in [0, 1] around each mask, (..., H, W) → (..., 4); zeros for an empty mask.

    Departs from the reference: the last pixel's far edge is included, so a full mask gives [0, 0, 1, 1].
    """

    def extent(occupied):
        size = occupied.shape[-1]
        first = occupied.float().argmax(-1)
        last = size - occupied.flip(-1).float().argmax(-1)
        return first / size, torch.where(occupied.any(-1), last / size, 0.0)

    x0, x1 = extent(masks.any(-2))
    y0, y1 = extent(masks.any(-1))
    return torch.stack([x0, y0, x1, y1], dim=-1)


def attention_grids(height: int, width: int, levels: int) -> list[tuple[int, int]]:
    """(h, w) of every UNet level for h × w latents: each stride-2 convolution rounds up."""
    grids = []
    for _ in range(levels):
        grids.append((height, width))
        height, width = -(-height // 2), -(-width // 2)
    return grids


def token_masks(regions: torch.Tensor, tokens_per_object: int, background_tokens: int = 0) -> torch.Tensor:
    """Which image tokens each position may read.

    Args:
        regions: bool, (B, N, h, w) or (B, N, P).
        tokens_per_object: L.
        background_tokens: tokens before those of the objects, read exactly where no object is; 0 when they are inert.
    Returns:
        bool, (B, 1, P, background_tokens + N·L): True where attention is allowed; broadcast over heads.
    """
    flat = regions.flatten(2).transpose(1, 2)
    allowed = flat.repeat_interleave(tokens_per_object, dim=2)
    if background_tokens:
        background = ~flat.any(2, keepdim=True)
        allowed = torch.cat([background.expand(-1, -1, background_tokens), allowed], dim=2)
    return allowed[:, None]


def boxes_per_sample(boxes: Any, counts: Sequence[int]) -> list[list[list[float]]]:
    """XYXY boxes in [0, 1], one per image prompt."""
    boxes = _plain(boxes)
    if not isinstance(boxes, (list, tuple)):
        raise ValueError(f"`boxes` must be a list of [x0, y0, x1, y1], one per image prompt, got {short_repr(boxes)}.")
    nested = depth(boxes) > 2
    samples = [[numbers("boxes", box) for box in sample] for sample in per_sample("boxes", boxes, len(counts), nested)]
    check_counts("boxes", samples, counts)
    for sample in samples:
        for box in sample:
            check_box(box)
    return samples


def _plain(values: Any) -> Any:
    """Lists in place of the arrays and tensors in `values`, however deep."""
    values = values.tolist() if hasattr(values, "tolist") else values
    return [_plain(value) for value in values] if isinstance(values, (list, tuple)) else values


def check_box(box: Sequence[float]) -> None:
    """Raise a ValueError unless `box` is XYXY in [0, 1] with a positive area."""
    if len(box) != 4 or not all(np.isfinite(box)):
        raise ValueError(f"`boxes` must hold four finite numbers [x0, y0, x1, y1] each, got {short_repr(list(box))}.")
    if min(box) < 0 or max(box) > 1:
        raise ValueError(
            f"`boxes` must be XYXY in [0, 1], got {list(box)}. Divide pixel boxes by the image's width and height."
        )
    if box[0] >= box[2] or box[1] >= box[3]:
        raise ValueError(f"`boxes` must have x0 < x1 and y0 < y1, got {list(box)}. Give the top left corner first.")


def masks_per_sample(masks: Any, counts: Sequence[int]) -> list[list[torch.Tensor]]:
    """Boolean masks (H, W), one per image prompt, in every form that `read_mask` reads.

    Raises:
        ValueError: a mask that cannot be read or covers nothing, or another number than image prompts.
    """
    if not isinstance(masks, (list, tuple)):
        raise ValueError(f"`masks` must be a list of masks, one per image prompt, got {type(masks).__name__}.")
    nested = isinstance(masks[0], (list, tuple)) if masks else False
    samples = [[_mask(mask) for mask in sample] for sample in per_sample("masks", masks, len(counts), nested)]
    check_counts("masks", samples, counts)
    return samples


def _mask(mask) -> torch.Tensor:
    try:
        inside = read_mask(mask)
    except ValueError as error:
        raise ValueError(f"`masks`: {error}") from error
    if not inside.any():
        raise ValueError("`masks` must each cover at least one pixel, got an empty mask.")
    return inside


def pad_boxes(samples: Sequence[Sequence[Sequence[float]]]) -> torch.Tensor:
    """(B, N, 4) float32, zeros for the padding."""
    longest = max(map(len, samples))
    padded = [[*map(list, sample), *([[0.0] * 4] * (longest - len(sample)))] for sample in samples]
    return torch.tensor(padded, dtype=torch.float32)


def mask_regions(samples: Sequence[Sequence[torch.Tensor]], height: int, width: int) -> torch.Tensor:
    """Pixel masks on a grid, bool (B, N, h, w), each shrunk once; nothing for the padding of shorter samples.

    Args:
        samples: for each prompt, one mask (H, W) per object; sizes may differ.
    """
    longest = max(map(len, samples))
    grid = torch.zeros(len(samples), longest, height, width, dtype=torch.bool)
    for i, sample in enumerate(samples):
        for j, mask in enumerate(sample):
            grid[i, j] = shrink_masks(mask, height, width)
    return grid


@dataclass
class RelationMetadata:
    """What a RelationLoRA's header tells.

    Attributes:
        relation: short name, e.g. "hug".
        predicate: words of the prompt that carry the relation, e.g. "is hugging".
        template: prompt with {0}, {1}, … for the phrases, e.g. "A {0} is hugging a {1}".
        scale: suggested LoRA weight.
        layout_prior: mean box of each role, XYXY in [0, 1]; None when unknown.
    """

    relation: str
    predicate: str
    template: str
    scale: float = 1.0
    layout_prior: list[list[float]] | None = None

    def __post_init__(self):
        for name in ("relation", "predicate", "template"):
            if not isinstance(getattr(self, name), str):
                raise ValueError(f"`{name}` must be a text, got {getattr(self, name)!r}.")
        if not isinstance(self.scale, (int, float)) or not math.isfinite(self.scale):
            raise ValueError(f"`scale` must be a finite number, got {self.scale!r}.")
        for box in self.layout_prior or []:
            check_box(box)


def read_relation_metadata(path: str | Path) -> RelationMetadata | None:
    """Header of a LoRA file; None when it is not one of ours. Fields of later versions are passed over.

    Raises:
        ValueError: the file is damaged, or our entry of the header is.
    """
    try:
        with safe_open(path, "pt") as file:
            header = file.metadata() or {}
    except (SafetensorError, OSError) as error:
        raise ValueError(f"`{path}` is no intact safetensors file ({error}). Download it again.") from error
    if HEADER_KEY not in header:
        return None
    try:
        entry = json.loads(header[HEADER_KEY])
        if not isinstance(entry, dict):
            raise ValueError(f"it must be an object, got {entry!r}")
        known = {field.name for field in fields(RelationMetadata)}
        return RelationMetadata(**{key: value for key, value in entry.items() if key in known})
    except (TypeError, ValueError) as error:
        raise ValueError(f"`{path}` has a damaged `{HEADER_KEY}` header ({error}). Download it again.") from error


def write_relation_metadata(path: str | Path, metadata: RelationMetadata) -> None:
    """Add our entry to a LoRA file's header, atomically; tensors and other entries (PEFT's alpha) stay."""
    with safe_open(path, "pt") as file:
        header = dict(file.metadata() or {})
    header[HEADER_KEY] = json.dumps(asdict(metadata))
    tensors = load_file(path)
    with whole_file(path) as temporary:
        save_file(tensors, temporary, metadata=header)
