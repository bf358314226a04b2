"""What an image encoder sees: principal components of its features as colours (RelationBooth, Fig. 20).

Shape letters: h w feature map, D feature width.
"""

from collections.abc import Sequence

import torch
from PIL import Image, ImageDraw

from ..relation_image_encoder import LocalImageEncoder
from ..relation_images import clip_pixels
from .contact import FAINT, INK, MARGIN, PAPER, font, wrapped

PANEL = 384  # pixels; height of every panel
LINE = 26  # pixels; height of a line of text
OUTLIERS = 0.02  # of the cells at either end of a component; stretched to them, all others would look alike
LEAST_SHARE = 1e-4  # of the widest component's spread: below it, a component is rounding noise and shown flat


def principal_colors(features: torch.Tensor) -> torch.Tensor:
    """The three strongest principal components of a map as red, green and blue, each stretched to [0, 1].

    Colours mean something within one map only: components, and their signs, are the map's own. A sign is chosen so that
    the direction's largest entry is positive; a component without any spread is 0.5.

    Args:
        features: (D, h, w).
    Returns:
        float32, (h, w, 3).
    """
    height, width = features.shape[-2:]
    rows = features.flatten(1).T.cpu().double()  # not every accelerator has float64
    rows = rows - rows.mean(0)
    directions = torch.linalg.svd(rows, full_matrices=False).Vh[:3]
    largest = directions.gather(1, directions.abs().argmax(1, keepdim=True))
    values = rows @ (directions * largest.sign()).T
    low, high = values.quantile(torch.tensor([OUTLIERS, 1 - OUTLIERS], dtype=values.dtype, device=values.device), dim=0)
    spread = high - low
    shown = spread > LEAST_SHARE * spread.max()
    colors = torch.where(shown, (values - low) / spread.where(shown, torch.ones_like(spread)), 0.5).clamp(0, 1)
    colors = torch.cat([colors, colors.new_full((len(colors), 3 - colors.shape[1]), 0.5)], dim=1)
    return colors.float().unflatten(0, (height, width))


@torch.no_grad()
def token_map(encoder: LocalImageEncoder, image: Image.Image) -> torch.Tensor:
    """The image tokens that adapters read, penultimate states at the native size, (D, h, w)."""
    size = encoder.config.image_size
    pixels = clip_pixels([image], size, size).to(encoder.device, encoder.dtype)
    states = encoder.vision_model(pixels, output_hidden_states=True).hidden_states[-2]
    side = size // encoder.config.patch_size
    return states[0, 1:].T.unflatten(1, (side, side))


@torch.no_grad()
def dense_map(encoder: LocalImageEncoder, image: Image.Image, size: int) -> torch.Tensor:
    """Dense features, from which local tokens are pooled, (D, h, w)."""
    pixels = clip_pixels([image], size, size).to(encoder.device, encoder.dtype)
    return encoder.dense_features(pixels)[0]


def feature_panels(
    image: Image.Image, image_encoder: LocalImageEncoder, local_image_encoder: LocalImageEncoder, size: int
) -> list[tuple[str, Image.Image]]:
    """(caption, panel): the image, the image tokens, and the dense features of both encoders.

    Args:
        image_encoder: a plain CLIP tower, loaded as a `LocalImageEncoder`, which reads any tower densely.
        size: side of the input for dense features, pixels; a multiple of both encoders' patch size.
    """
    maps = [
        ("image tokens", token_map(image_encoder, image)),
        ("dense, image encoder", dense_map(image_encoder, image, size)),
        ("dense, local image encoder", dense_map(local_image_encoder, image, size)),
    ]
    width = max(1, round(PANEL * image.width / image.height))
    panels = [("image", image.resize((width, PANEL), Image.Resampling.LANCZOS))]
    for caption, features in maps:
        values = (principal_colors(features) * 255).round().to(torch.uint8)
        cells = Image.fromarray(values.cpu().numpy()).resize((width, PANEL), Image.Resampling.NEAREST)
        panels.append((f"{caption}, {features.shape[-2]} by {features.shape[-1]}", cells))
    return panels


def feature_sheet(panels: Sequence[tuple[str, Image.Image]], notes: Sequence[str] = ()) -> Image.Image:
    """Panels in a row, each with its caption below; the notes under them."""
    width = sum(panel.width for _, panel in panels) + MARGIN * (len(panels) + 1)
    captions = [wrapped(caption, 18, panel.width) for caption, panel in panels]
    lines = [line for note in notes for line in wrapped(note, 16, width - 2 * MARGIN)]
    below = MARGIN + PANEL + 6 + LINE * max(len(caption) for caption in captions)
    sheet = Image.new("RGB", (width, below + LINE * len(lines) + MARGIN // 2), PAPER)
    draw, x = ImageDraw.Draw(sheet), MARGIN
    for (_, panel), caption in zip(panels, captions):
        sheet.paste(panel, (x, MARGIN))
        for i, line in enumerate(caption):
            draw.text((x, MARGIN + PANEL + 6 + LINE * i), line, INK, font=font(18))
        x += panel.width + MARGIN
    for i, line in enumerate(lines):
        draw.text((MARGIN, below + LINE * i), line, FAINT, font=font(16))
    return sheet
