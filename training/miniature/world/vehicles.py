"""What characters ride. Units and axes as in `props.py`; all face east."""

from .canvas import curve, ellipse, line, polygon, rounded

INK, STEEL, RUBBER = (40, 36, 44), (190, 198, 208), (46, 46, 54)
LINE = 0.014  # units: as wide as a figure's outline


def _wheel(canvas, x, y, radius, width, hub):
    canvas.stroke(ellipse(x, y, radius, radius), (215, 218, 224), width + 0.022)
    canvas.stroke(ellipse(x, y, radius, radius), RUBBER, width)
    canvas.shape(ellipse(x, y, hub, hub), STEEL, INK, 0.008)


def _bicycle(canvas):
    """Its saddle is at (-0.06, 0.13), its grips at (0.30, 0.34), its pedals at (0.04, -0.10)."""
    for x in (-0.34, 0.36):
        for end in ((0, 0.17), (0.147, 0.085), (0.147, -0.085)):
            spoke = line((x - end[0], -0.06 - end[1]), (x + end[0], -0.06 + end[1]))
            canvas.stroke(spoke, (150, 154, 162), 0.010)
        _wheel(canvas, x, -0.06, 0.18, 0.04, 0.025)
    crank, saddle, head = (0.04, -0.10), (-0.06, 0.10), (0.26, 0.13)
    bars = [line(saddle, crank, head, saddle), line((-0.34, -0.06), crank), line((-0.34, -0.06), saddle)]
    bars.append(line((0.25, 0.28), (0.36, -0.06)))
    canvas.union([(bar, 0.032) for bar in bars], (232, 30, 60), (100, 5, 20), 0.011)
    canvas.union([(line((0.25, 0.28), (0.25, 0.34), (0.33, 0.34)), 0.032)], INK, STEEL, 0.008)
    canvas.shape(ellipse(crank[0], crank[1], 0.045, 0.045), STEEL, INK, 0.010)
    canvas.union([(line((-0.14, 0.125), (0.02, 0.125)), 0.045)], INK, STEEL, 0.008)


def _motorbike(canvas):
    """Its seat is at y = 0.12, its grips at (0.30, 0.34)."""
    for x in (-0.36, 0.38):
        _wheel(canvas, x, -0.08, 0.135, 0.09, 0.05)
    blue, dark = (40, 70, 190), (14, 22, 80)
    for x, y, radius in ((-0.66, -0.12, 0.05), (-0.58, -0.08, 0.035)):
        canvas.shape(ellipse(x, y, radius, radius * 0.85), (232, 232, 236), (150, 150, 158), 0.008)
    canvas.union([(line((0.24, 0.32), (0.38, -0.08)), 0.04)], STEEL, INK, 0.010)
    canvas.shape(rounded(-0.14, -0.16, 0.16, 0.04, 0.05), (120, 124, 134), INK, 0.012)
    body = [
        (-0.42, 0.16),
        (-0.10, 0.04),
        (0.06, 0.06),
        (0.14, 0.17),
        (0.27, 0.15),
        (0.24, 0.0),
        (0.04, -0.06),
        (-0.22, 0.0),
    ]
    canvas.union([(polygon(body), 0.0)], blue, dark, LINE)
    canvas.union([(line((-0.50, -0.14), (0.02, -0.15)), 0.05)], STEEL, INK, 0.010)
    canvas.union([(line((-0.24, 0.10), (0.02, 0.09)), 0.055)], INK, STEEL, 0.006)
    canvas.union([(line((0.26, 0.27), (0.25, 0.34), (0.33, 0.35)), 0.034)], INK, STEEL, 0.008)
    canvas.shape(ellipse(0.33, 0.17, 0.055, 0.06), (255, 232, 110), INK, 0.012)


def _horse(canvas):
    """Its back is at y = 0.12."""
    coat, dark, mane = (168, 104, 56), (74, 38, 14), (70, 40, 22)
    tail = curve((-0.36, 0.06), (-0.58, 0.06), (-0.50, -0.22))
    canvas.union([(tail, 0.085)], mane, (34, 18, 8), 0.012)
    far = [(line((x, -0.06), (x + 0.05, -0.36)), 0.075) for x in (-0.24, 0.22)]
    canvas.union(far, (132, 78, 40), dark, 0.012)
    near = [(line((-0.30, -0.04), (-0.32, -0.36)), 0.085), (line((0.27, -0.04), (0.36, -0.18), (0.31, -0.28)), 0.08)]
    neck = (polygon([(0.16, 0.06), (0.36, 0.42), (0.50, 0.34), (0.38, -0.04)]), 0.0)
    head = (line((0.43, 0.38), (0.60, 0.25)), 0.14)
    body = (ellipse(0, -0.01, 0.38, 0.155), 0.0)
    ear = (polygon([(0.36, 0.42), (0.38, 0.54), (0.46, 0.45)]), 0.0)
    canvas.union([*near, body, neck, ear, head], coat, dark, LINE)
    canvas.union([(curve((0.37, 0.47), (0.26, 0.34), (0.19, 0.12)), 0.065)], mane, (34, 18, 8), 0.008)
    canvas.fill(ellipse(0.46, 0.40, 0.022, 0.026), INK)
    canvas.fill(ellipse(0.61, 0.25, 0.05, 0.05), (232, 196, 160))
    canvas.stroke(line((0.24, 0.20), (0.42, 0.22), (0.56, 0.26), (0.52, 0.36)), (200, 30, 40), 0.020)
    canvas.shape(rounded(-0.15, 0.02, 0.13, 0.14, 0.03), (200, 40, 50), (90, 8, 14), 0.010)


VEHICLES = {"bicycle": _bicycle, "motorbike": _motorbike, "horse": _horse}
