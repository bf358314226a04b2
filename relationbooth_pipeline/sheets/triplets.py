"""Triplets on one sheet, to be looked at before training: boxes, masks and numbered keypoints of every sample."""

from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw

from ..relation_images import open_image, read_mask
from ..triplets import Triplet
from .contact import COLORS, FAINT, INK, MARGIN, PAPER, font, stacked, wrapped

PANEL = 384  # pixels; height of every picture
DOT = 8  # pixels; radius of a keypoint, wide enough for its number
LINE = 22  # pixels; height of a line of text
TINT = 0.25  # of a mask's colour
MOST_TRIPLETS = 100  # a PNG of more would open nowhere: rows are some 450 pixels high


def triplet_sheet(triplets: Sequence[Triplet], verdicts: Sequence[str], most: int = MOST_TRIPLETS) -> Image.Image:
    """One row a triplet, swapped ones first: the target, then its image prompts; objects keep their colour throughout.

    Keypoints are numbered from 0; hollow ones are invisible.

    Args:
        verdicts: of `keypoint_verdict`, one a triplet.
        most: rows.
    """
    swapped_first = sorted(zip(triplets, verdicts), key=lambda pair: not _is_swapped(pair[1]))
    return stacked([_row(triplet, verdict) for triplet, verdict in swapped_first[:most]])


def _is_swapped(verdict: str) -> bool:
    return verdict.startswith("swapped")


def _row(triplet: Triplet, verdict: str) -> Image.Image:
    panels = [_target(triplet)]
    for i, file in enumerate(triplet.image_prompts):
        picture = _fitted(open_image(file))
        _keypoints(picture, triplet.image_prompt_keypoints[i], COLORS[i % len(COLORS)])
        panels.append(picture)
    width = sum(panel.width for panel in panels) + MARGIN * (len(panels) + 1)
    names = [f"{phrase} (object {i})" for i, phrase in enumerate(triplet.phrases)]
    lines = wrapped(f"{triplet.name}: {triplet.prompt} [{triplet.predicate}]", 16, width - 2 * MARGIN)
    row = Image.new("RGB", (width, MARGIN + LINE * (len(lines) + 2) + PANEL + MARGIN // 2), PAPER)
    draw, y = ImageDraw.Draw(row), MARGIN // 2
    for line in lines:
        draw.text((MARGIN, y), line, INK, font=font(16))
        y += LINE
    color = COLORS[0] if _is_swapped(verdict) else FAINT
    draw.text((MARGIN, y), f"keypoints by the masks: {verdict}", color, font=font(16))
    y += LINE
    x = MARGIN
    for i, panel in enumerate(panels):
        row.paste(panel, (x, y))
        label, ink = ("target", FAINT) if i == 0 else (names[i - 1], COLORS[(i - 1) % len(COLORS)])
        draw.text((x, y + PANEL + 2), label, ink, font=font(16))
        x += panel.width + MARGIN
    return row


def _target(triplet: Triplet) -> Image.Image:
    picture = open_image(triplet.image)
    values = np.asarray(picture, dtype=np.float32)
    for i, file in enumerate(triplet.masks or []):
        color = np.array(Image.new("RGB", (1, 1), COLORS[i % len(COLORS)]), dtype=np.float32)
        inside = read_mask(file).numpy()[..., None] * TINT
        values = values * (1 - inside) + color * inside
    picture = _fitted(Image.fromarray(values.astype(np.uint8)))
    draw = ImageDraw.Draw(picture)
    for i, box in enumerate(triplet.boxes.tolist()):
        corners = [value * (side - 1) for value, side in zip(box, picture.size * 2)]
        draw.rectangle(corners, outline=COLORS[i % len(COLORS)], width=3)
    for i, points in enumerate(triplet.keypoints):
        _keypoints(picture, points, COLORS[i % len(COLORS)])
    return picture


def _keypoints(picture: Image.Image, points, color: str) -> None:
    draw = ImageDraw.Draw(picture)
    for number, (x, y, visible) in enumerate(points.tolist()):
        center = x * (picture.width - 1), y * (picture.height - 1)
        corners = (center[0] - DOT, center[1] - DOT, center[0] + DOT, center[1] + DOT)
        draw.ellipse(corners, fill=color if visible else None, outline=PAPER if visible else color, width=1)
        draw.text(center, str(number), PAPER if visible else color, font=font(10), anchor="mm")


def _fitted(picture: Image.Image) -> Image.Image:
    width = max(1, round(PANEL * picture.width / picture.height))
    return picture.resize((width, PANEL), Image.Resampling.LANCZOS)
