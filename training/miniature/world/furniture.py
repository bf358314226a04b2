"""Large things: what characters sit on, sit at, lie in or stand on. Units and axes as in `props.py`."""

import skia

from .canvas import curve, ellipse, line, polygon, rectangle, rounded
from .poses.skeletons import SIDES

INK, WHITE, STEEL = (40, 36, 44), (252, 252, 250), (190, 198, 208)
WOOD, WOOD_LINE = (176, 116, 62), (84, 48, 18)
LINE = 0.014  # units: as wide as a figure's outline


def _armchair(canvas):
    """Its seat is at y = 0.14."""
    cloth, dark = (150, 50, 84), (74, 16, 38)
    canvas.shape(rounded(-0.30, -0.08, 0.30, 0.62, 0.10), cloth, dark, LINE)
    canvas.shape(rounded(-0.26, -0.10, 0.26, 0.13, 0.03), (176, 74, 106), dark, LINE)
    for side in SIDES:
        left, right = sorted((side * 0.26, side * 0.40))
        canvas.shape(rounded(left, -0.10, right, 0.26, 0.06), cloth, dark, LINE)


def _stool(canvas):
    canvas.union([(line((side * 0.06, 0.10), (side * 0.08, -0.06)), 0.03) for side in SIDES], WOOD, WOOD_LINE, LINE)
    canvas.shape(rounded(-0.12, 0.07, 0.12, 0.12, 0.02), WOOD, WOOD_LINE, LINE)


def _dinner_table(canvas):
    """A cloth, and a plate on it; the table's top is at y = 0.15."""
    canvas.shape(polygon([(-0.36, 0.19), (0.36, 0.19), (0.44, 0.09), (-0.44, 0.09)]), WHITE, (120, 100, 100), 0.010)
    canvas.shape(polygon([(-0.44, 0.09), (0.44, 0.09), (0.42, -0.09), (-0.42, -0.09)]), WHITE, (120, 100, 100), 0.010)
    for number in range(6):
        left = -0.42 + 0.14 * number
        low, high = (-0.09, 0.0) if number % 2 else (0.0, 0.085)
        canvas.fill(rectangle(left, low, left + 0.14, high), (226, 66, 66))
    canvas.shape(ellipse(0, 0.145, 0.20, 0.05), (225, 236, 250), (60, 90, 170), 0.012)
    canvas.shape(ellipse(-0.05, 0.175, 0.085, 0.048), (160, 88, 36), (84, 40, 10), 0.010)
    for x, y in ((0.07, 0.15), (0.12, 0.155), (0.095, 0.178)):
        canvas.shape(ellipse(x, y, 0.026, 0.024), (60, 160, 50), (20, 80, 20), 0.006)


def _stove(canvas):
    """A stove whose top is at y = 0.24, a pan on its flames; the pan's handle points to -x."""
    canvas.shape(rounded(-0.20, -0.03, 0.22, 0.22, 0.02), (222, 226, 230), INK, LINE)
    canvas.shape(rounded(-0.13, 0.0, 0.15, 0.125, 0.02), (70, 60, 70), INK, 0.008)
    canvas.fill(rectangle(-0.09, 0.02, 0.11, 0.05), (250, 150, 40))
    for x in (-0.12, 0.0, 0.12):
        canvas.fill(ellipse(x, 0.175, 0.024, 0.024), (220, 50, 40))
    for x in (-0.09, 0.01, 0.11):
        flame = polygon([(x - 0.04, 0.225), (x, 0.32), (x + 0.04, 0.225)])
        canvas.shape(flame, (250, 150, 30), (220, 60, 20), 0.006)
    canvas.union([(line((-0.12, 0.36), (-0.34, 0.40)), 0.045)], INK, STEEL, 0.010)
    pan = polygon([(-0.20, 0.40), (0.22, 0.40), (0.17, 0.29), (-0.15, 0.29)])
    canvas.shape(pan, (64, 64, 74), STEEL, 0.012)


def _piano_lid(canvas):
    """The raised wing of a grand piano, behind its player."""
    wing = skia.Path()
    wing.moveTo(-0.10, 0.08)
    for points in (((-0.10, 0.55), (0.14, 0.72), (0.30, 0.66)), ((0.50, 0.58), (0.48, 0.40), (0.50, 0.08))):
        wing.cubicTo(*(value for point in points for value in point))
    wing.close()
    canvas.shape(wing, (58, 54, 66), (168, 168, 184), 0.012)


def _keyboard(canvas):
    """A piano's keys and front, before its player; the keys are at y = 0.04 to 0.15."""
    canvas.shape(rounded(-0.50, -0.10, 0.50, 0.17, 0.02), (58, 54, 66), (168, 168, 184), 0.012)
    canvas.fill(rectangle(-0.45, 0.01, 0.45, 0.15), WHITE)
    for number in range(1, 11):
        x = -0.45 + 0.9 * number / 11
        canvas.stroke(line((x, 0.01), (x, 0.15)), (130, 130, 140), 0.010)
        if number not in (3, 7, 10):
            canvas.fill(rectangle(x - 0.024, 0.07, x + 0.024, 0.15), INK)


def _hammock_back(canvas):
    """Between two trees; a sleeper lies on y = 0 from x = -0.55 to 0.55."""
    for side in SIDES:
        trunk = polygon([(side * 0.74, -0.38), (side * 0.90, -0.38), (side * 0.85, 0.62), (side * 0.76, 0.62)])
        canvas.shape(trunk, WOOD, WOOD_LINE, LINE)
        for angle in (-50, -10, 30, 70, 110):
            leaf = ellipse(side * 0.80, 0.66, 0.17, 0.05, angle)
            canvas.shape(leaf, (50, 150, 60), (16, 80, 30), 0.010)
        canvas.union([(line((side * 0.78, 0.34), (side * 0.56, 0.06)), 0.022)], (240, 226, 190), WOOD_LINE, 0.008)
    canvas.shape(curve((-0.62, 0.14), (0, -0.24), (0.62, 0.14)), (240, 120, 60), (120, 40, 10), LINE)


def _hammock_front(canvas):
    cloth = skia.Path()
    cloth.moveTo(-0.64, 0.16)
    cloth.quadTo(0, -0.48, 0.64, 0.16)
    cloth.quadTo(0, -0.16, -0.64, 0.16)
    cloth.close()
    canvas.shape(cloth, (250, 150, 70), (120, 40, 10), LINE)
    with canvas.clipped(cloth):
        for x in (-0.40, -0.20, 0.0, 0.20, 0.40):
            canvas.stroke(line((x, -0.4), (x, 0.2)), (255, 236, 180), 0.035)


def _chess_table(canvas):
    """A table before its players; the board is at y = 0.12 to 0.34, tilted towards the viewer, and has pieces on it."""
    canvas.union(
        [(line((0, 0.1), (0, -0.03)), 0.09), (line((-0.13, -0.03), (0.13, -0.03)), 0.05)], WOOD, WOOD_LINE, LINE
    )
    near, far, low, high, count = 0.34, 0.25, 0.11, 0.33, 4

    def at(column, row):
        half = near + (far - near) * row / count
        return (2 * column / count - 1) * half, low + (high - low) * row / count

    rim = [at(-0.2, -0.25), at(count + 0.2, -0.25), at(count + 0.2, count + 0.15), at(-0.2, count + 0.15)]
    canvas.shape(polygon(rim), WOOD, WOOD_LINE, LINE)
    for column in range(count):
        for row in range(count):
            square = [at(column + dx, row + dy) for dx, dy in ((0, 0), (1, 0), (1, 1), (0, 1))]
            canvas.fill(polygon(square), (70, 66, 74) if (column + row) % 2 else (244, 232, 206))
    for column, row, crown, color, edge in (
        (1.2, 2.8, 1, WHITE, INK), (2.9, 2.8, 1, INK, WHITE), (0.9, 0.8, 0, WHITE, INK), (2.9, 0.8, 0, INK, WHITE),
        (1.9, 1.6, 0, WHITE, INK),
    ):  # fmt: skip
        _chess_piece(canvas, *at(column, row), crown, color, edge)


def _chess_piece(canvas, x, y, crown, color, edge):
    """A pawn that stands at (x, y), or a king."""
    top = y + 0.10
    piece = [(polygon([(x - 0.045, y), (x, top), (x + 0.045, y)]), 0.0), (ellipse(x, top, 0.034, 0.034), 0.0)]
    if crown:
        piece += [
            (line((x, top), (x, top + 0.09)), 0.024),
            (line((x - 0.03, top + 0.06), (x + 0.03, top + 0.06)), 0.024),
        ]
    canvas.union(piece, color, edge, 0.011)


def _ring(canvas):
    """A wrestling ring; one unit is the picture's side, the origin the middle of its lower rim."""
    canvas.fill(rectangle(-0.6, 0.0, 0.6, 0.22), (120, 150, 200))
    canvas.fill(rectangle(-0.6, 0.20, 0.6, 0.235), (60, 80, 140))
    for y, color in ((0.34, (60, 90, 220)), (0.43, WHITE), (0.52, (226, 50, 50))):
        canvas.union([(line((-0.44, y), (0.44, y)), 0.016)], color, INK, 0.005)
    for side in SIDES:
        canvas.shape(rounded(side * 0.45 - 0.025, 0.18, side * 0.45 + 0.025, 0.58, 0.01), (226, 50, 50), INK, 0.007)


def _slope(canvas):
    canvas.shape(polygon([(-4, -0.02), (4, -0.02), (4, -4), (-4, -4)]), (240, 246, 253), (150, 180, 220), 0.012)


def _hill(canvas):
    canvas.shape(ellipse(0, -0.42, 0.95, 0.55), (92, 158, 74), (40, 90, 40), LINE)


def _dance_floor(canvas):
    colors, count = ((250, 90, 170), (90, 200, 250), (250, 220, 80), (150, 110, 240)), 6
    for column in range(count):
        for row in range(2):

            def at(dx, dy, column=column, row=row):
                half = 0.66 - 0.10 * (row + dy)
                return (2 * (column + dx) / count - 1) * half, -0.09 + 0.12 * (row + dy)

            tile = polygon([at(0, 0), at(1, 0), at(1, 1), at(0, 1)])
            canvas.shape(tile, colors[(column + 2 * row) % 4], (60, 40, 90), 0.006)


FURNITURE = {
    "armchair": _armchair, "stool": _stool, "dinner_table": _dinner_table, "stove": _stove, "piano_lid": _piano_lid,
    "keyboard": _keyboard, "hammock_back": _hammock_back, "hammock_front": _hammock_front,
    "chess_table": _chess_table, "ring": _ring, "slope": _slope, "hill": _hill, "dance_floor": _dance_floor,
}  # fmt: skip
