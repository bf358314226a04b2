"""References, boxes and results on one sheet, side by side."""

from collections.abc import Mapping, Sequence

from PIL import Image, ImageDraw, ImageFont

INK, FAINT, PAPER = "#202124", "#5f6368", "#ffffff"
COLORS = ("#d93025", "#1a73e8", "#188038", "#e37400", "#9334e6", "#007b83", "#b31412", "#5f6368")
PANEL = 512  # pixels; height of every panel
MARGIN, LABEL = 24, 34  # pixels


def contact_sheet(
    image_prompts: Sequence[Image.Image],
    phrases: Sequence[str],
    boxes: Sequence[Sequence[float]],
    results: Mapping[str, Image.Image],
    prompt: str,
    note: str | None = None,
) -> Image.Image:
    """One row: the image prompts (framed in their box's colour), the boxes, the results; the prompt below.

    Args:
        image_prompts, phrases, boxes: one entry per object; boxes XYXY in [0, 1]. All may be empty.
        results: label → generated picture, all of one size.
        note: printed below the prompt, e.g. that the picture is an illustration only.
    Returns:
        RGB, 512 pixels a panel in height.
    """
    first = next(iter(results.values()))
    width = max(1, round(PANEL * first.width / first.height))
    panels = [(name, picture.resize((width, PANEL), Image.Resampling.LANCZOS)) for name, picture in results.items()]
    if image_prompts:
        panels = [
            ("references", _references(image_prompts, phrases)),
            ("boxes", _boxes(boxes, phrases, width)),
            *panels,
        ]
    total = sum(panel.width for _, panel in panels) + MARGIN * (len(panels) + 1)
    lines = [(line, INK) for line in wrapped(prompt, 22, total - 2 * MARGIN)]
    lines += [(line, COLORS[0]) for line in wrapped(note, 22, total - 2 * MARGIN)] if note else []
    sheet = Image.new("RGB", (total, MARGIN + LABEL + PANEL + MARGIN // 2 + 30 * len(lines) + MARGIN), PAPER)
    draw, x = ImageDraw.Draw(sheet), MARGIN
    for label, panel in panels:
        draw.text((x, MARGIN), label, FAINT, font=font(20))
        sheet.paste(panel, (x, MARGIN + LABEL))
        x += panel.width + MARGIN
    for i, (line, color) in enumerate(lines):
        draw.text((MARGIN, MARGIN + LABEL + PANEL + MARGIN // 2 + 30 * i), line, color, font=font(22))
    return sheet


def _references(images: Sequence[Image.Image], phrases: Sequence[str]) -> Image.Image:
    """Image prompts in a grid of at most two rows, each fitted into a square tile, its phrase below."""
    rows = 1 if len(images) == 1 else 2
    columns = -(-len(images) // rows)
    side = PANEL // rows
    panel = Image.new("RGB", (columns * side, PANEL), PAPER)
    draw = ImageDraw.Draw(panel)
    for i, (image, phrase) in enumerate(zip(images, phrases)):
        left, top = (i // rows) * side, (i % rows) * side
        room = (side - 16, side - 16 - LABEL)
        factor = min(room[0] / image.width, room[1] / image.height)
        size = tuple(max(1, round(length * factor)) for length in image.size)
        small = image.resize(size, Image.Resampling.LANCZOS)
        at = (left + (side - small.width) // 2, top + 8 + (room[1] - small.height) // 2)
        panel.paste(small, at)
        edge = (at[0] - 3, at[1] - 3, at[0] + small.width + 2, at[1] + small.height + 2)
        draw.rectangle(edge, outline=COLORS[i % len(COLORS)], width=3)
        text = _shortened(phrase, 20, side - 16)
        draw.text((left + side // 2, top + side - LABEL + 4), text, INK, font=font(20), anchor="ma")
    return panel


def _boxes(boxes: Sequence[Sequence[float]], phrases: Sequence[str], width: int) -> Image.Image:
    """The layout: a frame of the result's shape with every object's box."""
    panel = Image.new("RGB", (width, PANEL), "#f1f3f4")
    draw = ImageDraw.Draw(panel)
    for i, (box, phrase) in enumerate(zip(boxes, phrases)):
        color = COLORS[i % len(COLORS)]
        x0, y0, x1, y1 = (round(v * (side - 1)) for v, side in zip(box, (width, PANEL) * 2))
        draw.rectangle((x0, y0, x1, y1), outline=color, width=4)
        text = _shortened(phrase, 20, max(40, x1 - x0 - 16))
        # Overlapping boxes often share their top edge: each label one line lower than the last.
        draw.text((x0 + 9, min(y0 + 7 + 26 * i, PANEL - 30)), text, color, font=font(20))
    return panel


def stacked(rows: Sequence[Image.Image]) -> Image.Image:
    """Rows of any width one below the other, flush left."""
    sheet = Image.new("RGB", (max(row.width for row in rows), sum(row.height for row in rows)), PAPER)
    top = 0
    for row in rows:
        sheet.paste(row, (0, top))
        top += row.height
    return sheet


def font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    """Pillow's own font at `size` pixels."""
    return ImageFont.load_default(size)


def _shortened(text: str, size: int, width: int) -> str:
    face = font(size)
    if face.getlength(text) <= width:
        return text
    while text and face.getlength(text + "…") > width:
        text = text[:-1]
    return text + "…"


def wrapped(text: str, size: int, width: int) -> list[str]:
    """`text` in lines of at most `width` pixels at font size `size`; a longer word is cut and ends in "…"."""
    face, lines = font(size), [""]
    for word in text.split():
        longer = f"{lines[-1]} {word}".strip()
        if face.getlength(longer) <= width or not lines[-1]:
            lines[-1] = longer
        else:
            lines.append(word)
    return [_shortened(line, size, width) for line in lines]
