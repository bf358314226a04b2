"""Cases to look at before anything is drawn from them: photos, the one given, phrases, boxes and predicates."""

from PIL import Image, ImageDraw

from ...relation_images import open_image
from ...sheets.contact import COLORS, FAINT, INK, PAPER, font, stacked, wrapped
from .files import CaseFile
from .predicates import case_predicate

TILE, COLUMNS, TEXT = 96, 8, 300  # pixels of a photo; photos a row; pixels of the text beside them
MOST_CASES = 200  # a PNG of more would open nowhere


def case_sheet(cases: CaseFile, most: int = MOST_CASES) -> Image.Image:
    """A row a case: prompt, predicate and id, then every object's photos, framed in its colour; the given one thicker.

    Args:
        most: cases shown, spread over the file.
    """
    shown = cases.limited(min(most, len(cases.cases))).cases
    rows = [_row(cases, case) for case in shown]
    return stacked(rows)


def _row(cases: CaseFile, case) -> Image.Image:
    photos = [(i, k) for i, names in enumerate(case.references) for k in range(len(names))]
    lines = -(-len(photos) // COLUMNS)
    words = wrapped(case.prompt, 15, TEXT - 20)
    predicate, source = case_predicate(case)
    words += wrapped(f"predicate: {predicate or 'none'} ({source})", 13, TEXT - 20)
    height = max(lines * TILE, 20 * (len(words) + 1)) + 12
    row = Image.new("RGB", (TEXT + COLUMNS * TILE, height), PAPER)
    draw = ImageDraw.Draw(row)
    for number, line in enumerate([case.id, *words]):
        draw.text((10, 6 + 20 * number), line, FAINT if number == 0 else INK, font=font(13 if number == 0 else 15))
    for at, (i, k) in enumerate(photos):
        photo = open_image(cases.photo(case, i, k))
        photo.thumbnail((TILE - 12, TILE - 12), Image.Resampling.LANCZOS)
        x, y = TEXT + (at % COLUMNS) * TILE + 6, (at // COLUMNS) * TILE + 6
        row.paste(photo, (x, y))
        width = 5 if case.generate_with[i] == k else 1
        edge = (x - 3, y - 3, x + photo.width + 2, y + photo.height + 2)
        draw.rectangle(edge, outline=COLORS[i % len(COLORS)], width=width)
    draw.line((0, height - 1, row.width, height - 1), "#dadce0")
    return row
