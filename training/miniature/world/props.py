"""Things that characters hold, throw or stand beside; what they sit on and ride is in `furniture.py` and `vehicles.py`.

Every drawing is in its prop's own units, x to the east and y up, so that one that is placed at a figure's base is in
body units. Few large shapes of colours of their own: they must be known at 128 pixels.
"""

import math

import skia

from .canvas import curve, ellipse, line, polygon, rectangle, rounded
from .furniture import FURNITURE
from .poses.skeletons import SIDES
from .vehicles import VEHICLES

INK, WHITE, STEEL, GOLD = (40, 36, 44), (252, 252, 250), (205, 214, 224), (240, 190, 50)
LINE = 0.014  # units: as wide as a figure's outline


def draw_prop(canvas, prop):
    """Draw a `Prop`. The caller says whose it is (`Canvas.owned_by`)."""
    matrix = skia.Matrix().setTranslate(*prop.at).preScale(prop.facing * prop.scale, -prop.scale)
    with canvas.transformed(matrix.preRotate(prop.degrees)):
        PROPS[prop.name](canvas)


def _heart(canvas):
    lobes = [(ellipse(side * 0.5, 0, 0.58, 0.58), 0.0) for side in SIDES]
    point = polygon([(-1.0, -0.28), (1.0, -0.28), (0, -1.3)])
    canvas.union([*lobes, (point, 0.0)], (240, 40, 90), (110, 10, 40), 0.13)


def _shadow(canvas):
    canvas.fill(ellipse(0, 0, 1.0, 0.2), (70, 80, 80))


def _guitar(canvas):
    canvas.union([(curve((0, 0), (0.2, 0.08), (0.42, 0.19)), 0.05)], (120, 70, 30), (50, 25, 10), 0.012)
    body = [(ellipse(-0.07, -0.02, 0.12, 0.11), 0.0), (ellipse(0.05, 0.02, 0.09, 0.085), 0.0)]
    canvas.union(body, (225, 150, 60), (90, 50, 15), 0.014)
    canvas.fill(ellipse(-0.03, 0, 0.04, 0.04), (60, 30, 15))


def _book(canvas):
    """Open, seen by its reader; the origin is the lower end of its spine."""
    for side in SIDES:
        cover = polygon([(0, 0), (side * 0.235, 0.045), (side * 0.235, 0.225), (0, 0.17)])
        canvas.shape(cover, (30, 90, 200), (12, 30, 90), LINE)
        page = polygon([(side * 0.008, 0.025), (side * 0.21, 0.062), (side * 0.21, 0.225), (side * 0.008, 0.18)])
        canvas.shape(page, WHITE, (120, 120, 140), 0.006)
        for up in (0.062, 0.10, 0.138):
            canvas.stroke(line((side * 0.04, up), (side * 0.18, up + 0.032)), (110, 110, 125), 0.014)


def _microphone(canvas):
    """On a stand; the origin is the stand's foot."""
    canvas.shape(ellipse(0, 0, 0.12, 0.03), INK, STEEL, 0.008)
    canvas.union([(line((0, 0), (0, 0.46), (-0.03, 0.50)), 0.026)], INK, STEEL, 0.009)
    canvas.union([(line((0.03, 0.43), (-0.06, 0.53)), 0.05)], (70, 70, 84), STEEL, 0.009)
    canvas.shape(ellipse(-0.085, 0.56, 0.066, 0.066), (60, 60, 70), STEEL, 0.012)
    canvas.stroke(line((-0.135, 0.53), (-0.045, 0.60)), STEEL, 0.014)


def _notes(canvas):
    """Two notes joined by a beam, around the origin."""
    stems = [(line((-0.06, -0.06), (-0.06, 0.10), (0.09, 0.14), (0.09, -0.02)), 0.03)]
    heads = [(ellipse(-0.095, -0.065, 0.052, 0.042), 0.0), (ellipse(0.055, -0.025, 0.052, 0.042), 0.0)]
    canvas.union([*stems, *heads], (190, 30, 150), WHITE, 0.016)


def _barbell(canvas):
    canvas.union([(line((-0.5, 0), (0.5, 0)), 0.034)], STEEL, INK, LINE)
    for side in SIDES:
        for x, half in ((0.41, 0.15), (0.475, 0.215)):
            disc = rounded(side * x - 0.03, -half, side * x + 0.03, half, 0.02)
            canvas.shape(disc, (58, 58, 70), (170, 174, 186), 0.010)


def _football(canvas):
    canvas.shape(ellipse(0, 0, 0.115, 0.115), WHITE, INK, 0.016)
    with canvas.clipped(ellipse(0, 0, 0.115, 0.115)):
        for radius, size, count in ((0.0, 0.048, 1), (0.112, 0.042, 5)):
            for number in range(count):
                angle = 2 * math.pi * number / 5 + math.pi / 2
                canvas.fill(_star(radius * math.cos(angle), radius * math.sin(angle), size, size * 0.85, 5), INK)


def _star(x, y, outer, inner, points):
    """Path of a star around (x, y)."""
    angles = [math.pi * number / points + math.pi / 2 for number in range(2 * points)]
    radii = [outer, inner] * points
    return polygon([(x + r * math.cos(a), y + r * math.sin(a)) for r, a in zip(radii, angles)])


def _basketball(canvas):
    outline, orange = (90, 35, 5), (242, 125, 30)
    canvas.shape(ellipse(0, 0, 0.125, 0.125), orange, outline, 0.015)
    with canvas.clipped(ellipse(0, 0, 0.125, 0.125)):
        for path in (line((-0.13, 0), (0.13, 0)), line((0, -0.13), (0, 0.13))):
            canvas.stroke(path, outline, 0.014)
        for side in SIDES:
            canvas.stroke(ellipse(side * 0.15, 0, 0.095, 0.13), outline, 0.014)


def _hoop(canvas):
    """A basket with its board; the origin is the middle of its ring."""
    board = rectangle(-0.23, 0.0, 0.23, 0.27)
    canvas.shape(board, WHITE, INK, LINE)
    canvas.stroke(rectangle(-0.09, 0.05, 0.09, 0.17), (220, 40, 40), 0.02)
    for x in (-0.10, -0.035, 0.035, 0.10):
        canvas.union([(line((x * 1.1, -0.01), (x * 0.5 + 0.02, -0.15)), 0.010)], WHITE, INK, 0.005)
        canvas.union([(line((x * 1.1, -0.01), (x * 0.5 - 0.02, -0.15)), 0.010)], WHITE, INK, 0.005)
    canvas.union([(line((-0.14, 0), (0.14, 0)), 0.034)], (230, 70, 20), (90, 20, 5), 0.010)


def _foil(canvas):
    """The hand is at the origin, the blade along x."""
    canvas.union([(line((-0.06, 0), (0.52, 0)), 0.026)], STEEL, INK, 0.012)
    canvas.shape(ellipse(0.075, 0, 0.035, 0.09), GOLD, (110, 70, 5), 0.012)
    canvas.fill(ellipse(0.52, 0, 0.028, 0.028), (220, 40, 40))


def _burst(canvas):
    """What a blow looks like in comics."""
    canvas.shape(_star(0, 0, 0.19, 0.095, 9), (250, 215, 50), (200, 50, 20), 0.018)
    canvas.fill(_star(0, 0, 0.10, 0.05, 9), WHITE)


def _glove(canvas):
    fist = [(ellipse(0.02, 0, 0.088, 0.08), 0.0), (ellipse(0.0, 0.06, 0.045, 0.035), 0.0)]
    canvas.union(fist, (215, 30, 45), (95, 5, 15), LINE)
    canvas.fill(rectangle(-0.085, -0.055, -0.045, 0.055), WHITE)


def _fork(canvas):
    canvas.union([(line((0, -0.08), (0, 0.12)), 0.026)], STEEL, INK, 0.010)
    tines = [(line((x, 0.13), (x, 0.24)), 0.016) for x in (-0.04, 0.0, 0.04)]
    canvas.union([(line((-0.04, 0.13), (0.04, 0.13)), 0.03), *tines], STEEL, INK, 0.010)


def _knife(canvas):
    canvas.union([(line((0, -0.08), (0, 0.06)), 0.034)], INK, STEEL, 0.008)
    canvas.shape(polygon([(-0.02, 0.07), (0.035, 0.07), (0.035, 0.20), (-0.02, 0.26)]), STEEL, INK, 0.010)


def _fried_egg(canvas):
    white = [(ellipse(-0.04, 0, 0.10, 0.074), 0.0), (ellipse(0.06, 0.014, 0.078, 0.062), 0.0)]
    canvas.union(white, WHITE, (120, 110, 110), 0.010)
    canvas.shape(ellipse(0.0, 0.012, 0.048, 0.043), (252, 186, 20), (200, 120, 10), 0.006)


def _skis(canvas):
    """Seen from the side, under feet that stand at the origin."""
    for x, y in ((0.06, 0.035), (-0.04, -0.005)):
        ski = line((x - 0.42, y), (x + 0.36, y), (x + 0.45, y + 0.045), (x + 0.49, y + 0.10))
        canvas.union([(ski, 0.034)], (250, 95, 20), (100, 30, 0), 0.012)


def _ski_pole(canvas):
    """The hand is at the origin, the pole along x."""
    canvas.union([(line((-0.06, 0), (0.40, 0)), 0.018)], (30, 60, 150), WHITE, 0.008)
    canvas.shape(ellipse(0.34, 0, 0.018, 0.05), (30, 60, 150), WHITE, 0.008)


def _snowflake(canvas):
    arms = [(line((0, 0), (math.cos(a), math.sin(a))), 0.34) for a in (math.pi * k / 3 for k in range(6))]
    canvas.union(arms, WHITE, (110, 150, 210), 0.14)


def _z(canvas):
    canvas.union([(line((-0.5, 0.5), (0.5, 0.5), (-0.5, -0.5), (0.5, -0.5)), 0.24)], (60, 60, 200), WHITE, 0.14)


def _disco_ball(canvas):
    """Hangs from far above; the origin is its middle."""
    canvas.stroke(line((0, 0.1), (0, 2.0)), (120, 120, 130), 0.02)
    ball = ellipse(0, 0, 0.15, 0.15)
    canvas.shape(ball, (214, 222, 240), INK, LINE)
    with canvas.clipped(ball):
        for number, color in enumerate(((255, 90, 170), (90, 200, 255), (255, 230, 90), (160, 110, 250))):
            for row in range(4):
                x, y = -0.15 + 0.075 * number, -0.15 + 0.075 * row
                if (number + row) % 2:
                    canvas.fill(rectangle(x, y, x + 0.075, y + 0.075), color)


PROPS = {
    "heart": _heart, "shadow": _shadow, "guitar": _guitar, "book": _book, "microphone": _microphone, "notes": _notes,
    "barbell": _barbell, "football": _football, "basketball": _basketball, "hoop": _hoop, "foil": _foil,
    "burst": _burst, "glove": _glove, "fork": _fork, "knife": _knife, "fried_egg": _fried_egg, "skis": _skis,
    "ski_pole": _ski_pole, "snowflake": _snowflake, "z": _z, "disco_ball": _disco_ball, **FURNITURE, **VEHICLES,
}  # fmt: skip
