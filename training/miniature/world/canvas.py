"""A drawing surface that records, beside the picture, which character and which body part each pixel shows."""

import contextlib
import math

import numpy as np
import skia


def mix(color, other, share):
    """`color` with `share` in [0, 1] of `other`; both sRGB 0-255."""
    return tuple(round((1 - share) * a + share * b) for a, b in zip(color, other))


def ellipse(x, y, radius_x, radius_y, degrees=0.0):
    """Path of an ellipse around (x, y) in pixels, turned clockwise by `degrees`."""
    path = skia.Path()
    path.addOval(skia.Rect.MakeLTRB(x - radius_x, y - radius_y, x + radius_x, y + radius_y))
    if degrees:
        path.transform(skia.Matrix().setRotate(degrees, x, y))
    return path


def polygon(points, closed=True):
    """Path through `points`, a list of (x, y) in pixels."""
    path = skia.Path()
    path.moveTo(*points[0])
    for point in points[1:]:
        path.lineTo(*point)
    if closed:
        path.close()
    return path


def line(*points):
    """Path through `points`, each (x, y), to be stroked."""
    return polygon(points, closed=False)


def curve(start, *controls):
    """Path of one quadratic (2 controls) or cubic (3 controls) curve from `start`; points are (x, y) in pixels."""
    path = skia.Path()
    path.moveTo(*start)
    flat = [coordinate for point in controls for coordinate in point]
    (path.quadTo if len(controls) == 2 else path.cubicTo)(*flat)
    return path


def rounded(left, top, right, bottom, radius):
    """Path of an axis-aligned rectangle with round corners."""
    path = skia.Path()
    path.addRoundRect(skia.Rect.MakeLTRB(left, top, right, bottom), radius, radius)
    return path


def rectangle(left, top, right, bottom):
    """Path of an axis-aligned rectangle, pixels."""
    path = skia.Path()
    path.addRect(skia.Rect.MakeLTRB(left, top, right, bottom))
    return path


def shape_path(kind, x, y, diameter):
    """Path of one of the small shapes that mark a character, centroid at (x, y).

    Args:
        kind: "disc", "ring", "cross", "saltire", or the direction in which a triangle points. diameter: pixels, of the
            disc; all kinds have its area.
    """
    side = diameter * math.sqrt(math.pi) / 2  # of a square of that area
    if kind == "disc":
        return ellipse(x, y, diameter / 2, diameter / 2)
    if kind == "ring":
        outer = diameter / 2 / math.sqrt(1 - 0.5**2)  # the hole is half as wide
        path = ellipse(x, y, outer, outer)
        path.addOval(skia.Rect.MakeLTRB(x - outer / 2, y - outer / 2, x + outer / 2, y + outer / 2))
        path.setFillType(skia.PathFillType.kEvenOdd)
        return path
    if kind in ("cross", "saltire"):
        half = side / math.sqrt(5) / 2  # five squares
        quarter = [(-1, -3), (1, -3), (1, -1)]
        corners = [point for k in range(4) for point in (_turned(corner, 90 * k) for corner in quarter)]
        path = polygon([(x + half * px, y + half * py) for px, py in corners])
        if kind == "saltire":
            path.transform(skia.Matrix().setRotate(45, x, y))
        return path
    radius = side * math.sqrt(4 / (3 * math.sqrt(3)))  # circumscribed, of an equilateral triangle
    degrees = {"up": 0, "right": 90, "down": 180, "left": 270}[kind]
    corners = [_turned((0, -radius), degrees + 120 * k) for k in range(3)]
    return polygon([(x + dx, y + dy) for dx, dy in corners])


def _turned(point, degrees):
    """A point turned clockwise around the origin, y down."""
    cosine, sine = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
    return point[0] * cosine - point[1] * sine, point[0] * sine + point[1] * cosine


class Canvas:
    """Two surfaces of the same size: the antialiased picture, and the identities of its pixels.

    Args:
        size: side of the square surface in pixels.
        with_parts: whether to record owners and parts (twice the drawing time).
    """

    def __init__(self, size, with_parts=True):
        self.size = size
        self._picture = skia.Surface(size, size)
        self._parts = skia.Surface(size, size) if with_parts else None
        if self._parts is not None:
            self._parts.getCanvas().clear(skia.Color(0, 0, 0))
        self._owner, self._part = 0, 0

    @contextlib.contextmanager
    def owned_by(self, owner, part):
        """Everything drawn inside belongs to character `owner` (from 1; 0 is the scene) and to part number `part`."""
        before = self._owner, self._part
        self._owner, self._part = owner, part
        try:
            yield
        finally:
            self._owner, self._part = before

    def _surfaces(self):
        return [surface.getCanvas() for surface in (self._picture, self._parts) if surface is not None]

    @contextlib.contextmanager
    def transformed(self, *matrices):
        """Drawing inside is moved by 3 x 3 `skia.Matrix`es, the last of them first; none leaves it as it is."""
        surfaces = self._surfaces()
        for surface in surfaces:
            surface.save()
            for matrix in matrices:
                surface.concat(matrix)
        try:
            yield
        finally:
            for surface in surfaces:
                surface.restore()

    @contextlib.contextmanager
    def clipped(self, path):
        """Drawing inside only reaches the pixels of `path`."""
        surfaces = self._surfaces()
        for surface in surfaces:
            surface.save()
            surface.clipPath(path, doAntiAlias=surface is surfaces[0])
        try:
            yield
        finally:
            for surface in surfaces:
                surface.restore()

    def fill(self, path, color):
        self._draw(path, color, skia.Paint.kFill_Style, 0.0)

    def stroke(self, path, color, width):
        self._draw(path, color, skia.Paint.kStroke_Style, width)

    def shape(self, path, color, outline, outline_width):
        """A filled path with a line around it, `outline_width` pixels outside its edge."""
        self.union([(path, 0.0)], color, outline, outline_width)

    def union(self, pieces, color, outline, outline_width):
        """Several pieces as one shape with a single outline and no seams.

        Args:
            pieces: list of (path, width in pixels); width 0 is a filled area, more is a line of that width.
        """
        for path, width in pieces:
            self.stroke(path, outline, width + 2 * outline_width)
            if not width:
                self.fill(path, outline)
        for path, width in pieces:
            if width:
                self.stroke(path, color, width)
            else:
                self.fill(path, color)

    def picture(self):
        """(size, size, 3) uint8, sRGB."""
        return self._picture.toarray(colorType=skia.kRGBA_8888_ColorType)[:, :, :3].copy()

    def owners_and_parts(self):
        """Two (size, size) uint8 arrays: the owner and the part of every pixel."""
        if self._parts is None:
            raise RuntimeError("This canvas was made with with_parts=False and recorded no parts.")
        array = self._parts.toarray(colorType=skia.kRGBA_8888_ColorType)
        return array[:, :, 0].copy(), array[:, :, 1].copy()

    def _draw(self, path, color, style, width):
        common = {"Style": style, "StrokeWidth": width, "StrokeCap": skia.Paint.kRound_Cap}
        common["StrokeJoin"] = skia.Paint.kRound_Join
        self._picture.getCanvas().drawPath(path, skia.Paint(AntiAlias=True, Color=skia.Color(*color), **common))
        if self._parts is not None:
            code = skia.Color(self._owner, self._part, 0)
            self._parts.getCanvas().drawPath(path, skia.Paint(AntiAlias=False, Color=code, **common))


def box_of(mask):
    """XYXY box in [0, 1] around the true pixels of a (size, size) mask; None where it is empty."""
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    if not len(rows):
        return None
    size = mask.shape[0]
    return (columns[0] / size, rows[0] / size, (columns[-1] + 1) / size, (rows[-1] + 1) / size)
