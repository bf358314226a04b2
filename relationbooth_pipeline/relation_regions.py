"""Where each object may act: boxes and masks → boolean region masks on any attention grid, and layouts without boxes.

Shape letters: B batch, N objects, L tokens per object, h w grid, P = h·w positions, H heads, T text tokens.
"""

import torch
import torch.nn.functional as F


def region_masks(boxes: torch.Tensor, height: int, width: int) -> torch.Tensor:
    """Cells of an h × w grid that each box touches.

        cell (r, c) belongs to a box  ⇔  ⌊x0·w⌋ ≤ c < ⌈x1·w⌉  and  ⌊y0·h⌋ ≤ r < ⌈y1·h⌉        (golden case `attention`)

    Args:
        boxes: XYXY in [0, 1], origin top left, (..., 4). An all-zero box covers nothing.
        height, width: grid size in cells.
    Returns:
        bool, (..., h, w).
    Departs from the reference: height and width are explicit, so grids need not be square; float32 throughout, since
    half precision moves an edge across a cell border.
    """
    x0, y0, x1, y1 = boxes.float().unbind(-1)

    def covered(start, stop, size):
        cells = torch.arange(size, device=boxes.device)
        return (cells >= (start * size).floor()[..., None]) & (cells < (stop * size).ceil()[..., None])

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


def side_by_side(count: int) -> list[list[float]]:
    """Layout used when nothing else is known: equal columns from left to right over the middle 80 % of the height."""
    return [[i / count, 0.1, (i + 1) / count, 0.9] for i in range(count)]


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


class AutomaticLayout:
    """Regions found from the text attention of each phrase while denoising; belongs to one generation.

    Every call of a layer adds its map (text probabilities, mean over heads and the phrase's tokens). From the
    `start_step`-th call on, the mean of that layer's maps, scaled to [0, 1] by (m − min)/(max − min + 1e-5), is cut at
    `mask_threshold`; until then the boxes act (golden case `attention`, tensors `auto`).

    Args:
        spans: int, (B, N, 2): [start, end) of each phrase in the tokenised prompt; (0, 0) covers nothing.
        box_masks: `token_masks` of the boxes by number of positions P, used before `start_step`.
        mask_threshold: in [0, 1].
        start_step: number of calls of a layer from which its own maps act, ≥ 1.
        tokens_per_object, background_tokens: as in `token_masks`.
    """

    def __init__(self, spans, box_masks, mask_threshold, start_step, tokens_per_object, background_tokens=0):
        self.spans, self.box_masks = spans, box_masks
        self.mask_threshold, self.start_step = mask_threshold, start_step
        self.tokens_per_object, self.background_tokens = tokens_per_object, background_tokens
        self._sums = {}  # layer → (number of maps, their sum): the maps themselves would grow with every step

    def phrase_maps(self, text_probabilities: torch.Tensor) -> torch.Tensor:
        """Mean text attention of each phrase, (B, H, P, T) → (B, N, P)."""
        tokens = torch.arange(text_probabilities.shape[-1], device=text_probabilities.device)
        spans = self.spans.to(tokens.device)
        inside = (tokens >= spans[..., :1]) & (tokens < spans[..., 1:])
        weights = inside / inside.sum(-1, keepdim=True).clamp(min=1)
        return text_probabilities.mean(1) @ weights.to(text_probabilities.dtype).transpose(1, 2)  # (B, P, N)

    def masks(self, layer, text_probabilities: torch.Tensor) -> torch.Tensor:
        """Record this call of `layer` and return the mask in force, as `token_masks`."""
        maps = self.phrase_maps(text_probabilities.float()).transpose(1, 2)
        count, total = self._sums.get(layer, (0, 0.0))
        count, total = self._sums[layer] = (count + 1, total + maps)
        if count < self.start_step:
            return self.box_masks[maps.shape[-1]]
        mean = total / count
        low, high = mean.amin(-1, keepdim=True), mean.amax(-1, keepdim=True)
        regions = (mean - low) / (high - low + 1e-5) > self.mask_threshold
        return token_masks(regions, self.tokens_per_object, self.background_tokens)
