"""The eight heads. Silhouette first: ears, trunk, beak, eye bumps, snout or mane are larger than life."""

import math

from .canvas import curve, ellipse, mix, polygon, rectangle, shape_path
from .poses.skeletons import HEAD_RADIUS, SIDES

INNER_EAR, NOSE_PINK, INK, WHITE = (250, 170, 182), (235, 90, 120), (28, 22, 30), (255, 255, 255)
# Eyes that show a shape are larger: at 7 pixels, less than a cell of the latents, a base never learned to draw one.
SHAPED_EYE = 1.45
PUPIL_DIAMETER = 0.46  # head radii: 10 pixels of a figure of 95; triangles just fill the eye
BEAK, BEAK_OUTLINE, CHEEK = (250, 160, 30), (140, 75, 10), (250, 140, 140)


def head_radius(skeleton):
    """Radius of a figure's head in pixels."""
    return HEAD_RADIUS * skeleton.height


def draw_head(canvas, species, palette, center, radius, yaw, outline, mark, pupils=None):
    """Draw one head.

    Args:
        center, radius, outline: pixels. yaw: see Skeleton. mark: callable(path) that draws markings inside the skull.
        pupils: one of PUPILS; None: round, with a glint.
    Returns:
        ({side: (x, y)} of the eyes, (x, y) of the nose), pixels.
    """
    x, y = center
    _behind_the_skull(canvas, species, palette, x, y, radius, yaw, outline)
    width, height = {"frog": (1.14, 0.86), "duck": (0.95, 0.97), "pig": (1.08, 0.95)}.get(species, (1.02, 0.97))
    skull = ellipse(x, y, width * radius, height * radius)
    canvas.shape(skull, palette.body, palette.outline, outline)
    mark(skull)
    if species == "frog":  # hides the line between the skull and the eye bumps
        for side in SIDES:
            canvas.fill(
                ellipse(x + (side * 0.55 + yaw * 0.12) * radius, y - 0.72 * radius, 0.40 * radius, 0.26 * radius),
                palette.body,
            )
    eyes = _eyes(canvas, species, palette, x, y, radius, yaw, outline, pupils)
    face_x, face_y = x + yaw * 0.50 * radius, y + 0.40 * radius
    _face(canvas, species, palette, (x, face_x), face_y, radius, yaw, outline)
    return eyes, (face_x, face_y - 0.05 * radius)


def _behind_the_skull(canvas, species, palette, x, y, r, yaw, outline):
    """Ears, mane, eye bumps and crest."""
    body, line = palette.body, palette.outline
    if species == "lion":
        mane = mix(body, (60, 25, 10), 0.55)
        for step in range(12):
            angle = math.pi * step / 6
            petal = ellipse(x + 1.08 * r * math.cos(angle), y + 1.02 * r * math.sin(angle), 0.40 * r, 0.40 * r)
            canvas.shape(petal, mane, line, outline)
        canvas.fill(ellipse(x, y, 1.2 * r, 1.14 * r), mane)
    if species == "duck":
        for k in (-0.3, 0.0, 0.3):
            tip = (x + (k * 1.7 - yaw * 0.1) * r, y - 1.36 * r)
            canvas.shape(
                polygon([(x + (k - 0.14) * r, y - 0.9 * r), tip, (x + (k + 0.16) * r, y - 0.9 * r)]),
                body,
                line,
                outline,
            )
    for side in SIDES:

        def ear(points, side=side):
            return polygon([(x + side * px * r, y + py * r) for px, py in points])

        if species == "cat":
            canvas.shape(ear([(0.98, -0.15), (0.88, -1.38), (0.12, -0.85)]), body, line, outline)
            canvas.fill(ear([(0.80, -0.5), (0.78, -1.08), (0.42, -0.82)]), INNER_EAR)
        elif species == "pig":  # ears that fold down at the corners
            canvas.shape(ear([(0.25, -0.95), (0.80, -1.32), (1.30, -0.62), (0.95, -0.45)]), body, line, outline)
            canvas.fill(ear([(0.62, -0.92), (0.82, -1.10), (1.10, -0.68)]), INNER_EAR)
        elif species in ("bear", "lion"):
            big = 0.40 if species == "bear" else 0.30
            canvas.shape(ellipse(x + side * 0.76 * r, y - 0.76 * r, big * r, big * r), body, line, outline)
            canvas.fill(ellipse(x + side * 0.76 * r, y - 0.76 * r, big * 0.55 * r, big * 0.55 * r), palette.belly)
        elif species == "rabbit":
            ear_x = x + (side * 0.42 - yaw * 0.1) * r
            canvas.shape(ellipse(ear_x, y - 1.35 * r, 0.27 * r, 0.78 * r, side * 9), body, line, outline)
            canvas.fill(ellipse(ear_x, y - 1.33 * r, 0.13 * r, 0.55 * r, side * 9), INNER_EAR)
        elif species == "elephant":
            ear_x = x + (side * 1.02 - yaw * 0.2) * r
            canvas.shape(ellipse(ear_x, y - 0.08 * r, 0.62 * r, 0.78 * r), body, line, outline)
            inner = mix(body, INNER_EAR, 0.6)
            canvas.fill(ellipse(ear_x + side * 0.04 * r, y - 0.08 * r, 0.38 * r, 0.52 * r), inner)
        elif species == "frog":
            bump = ellipse(x + (side * 0.55 + yaw * 0.12) * r, y - 0.82 * r, 0.44 * r, 0.44 * r)
            canvas.shape(bump, body, line, outline)


def eye_scale(pupils):
    return 1.0 if pupils is None else SHAPED_EYE


def _eyes(canvas, species, palette, x, y, r, yaw, outline, pupils):
    height = {"frog": -0.82, "duck": -0.22}.get(species, -0.08)
    spread, follow = (0.55, 0.16) if species == "frog" else (0.42, 0.38)
    eyes = {}
    for side in SIDES:
        eye_x, eye_y = x + (side * spread * (1 - 0.2 * abs(yaw)) + yaw * follow) * r, y + height * r
        eyes[side] = (eye_x, eye_y)
        large = eye_scale(pupils) * r
        canvas.shape(ellipse(eye_x, eye_y, 0.235 * large, 0.27 * large), WHITE, palette.outline, outline * 0.6)
        if pupils is not None:
            canvas.fill(shape_path(pupils, eye_x + yaw * 0.05 * r, eye_y, PUPIL_DIAMETER * r), INK)
            continue
        canvas.fill(ellipse(eye_x + yaw * 0.05 * r, eye_y + 0.02 * r, 0.155 * r, 0.19 * r), INK)
        canvas.fill(ellipse(eye_x + 0.05 * r, eye_y - 0.07 * r, 0.065 * r, 0.07 * r), WHITE)
    return eyes


def _face(canvas, species, palette, centers, y, r, yaw, outline):
    """Nose, mouth, beak, trunk; `centers` are the x of the skull and of the turned face."""
    skull_x, x = centers
    line = palette.outline
    if species in ("cat", "rabbit"):
        canvas.fill(ellipse(x, y + 0.1 * r, 0.40 * r, 0.28 * r), palette.belly)
        nose = polygon([(x - 0.15 * r, y - 0.1 * r), (x + 0.15 * r, y - 0.1 * r), (x, y + 0.1 * r)])
        canvas.shape(nose, NOSE_PINK, (90, 40, 50), outline * 0.4)
        if species == "rabbit":
            canvas.fill(rectangle(x - 0.14 * r, y + 0.2 * r, x + 0.14 * r, y + 0.5 * r), WHITE)
            return
        for side in SIDES:
            for k in (-0.08, 0.16):
                whisker = [(x + side * 0.42 * r, y + (0.05 + k) * r), (x + side * r, y + k * 1.8 * r)]
                canvas.stroke(polygon(whisker, closed=False), (40, 35, 40), 0.06 * r)
    elif species in ("bear", "lion"):
        canvas.shape(ellipse(x, y + 0.1 * r, 0.48 * r, 0.36 * r), palette.belly, line, outline * 0.6)
        canvas.fill(ellipse(x, y - 0.06 * r, 0.22 * r, 0.16 * r), INK)
        canvas.stroke(polygon([(x, y), (x, y + 0.28 * r)], closed=False), INK, 0.07 * r)
    elif species == "pig":
        snout = mix(palette.body, INNER_EAR, 0.55)
        canvas.shape(ellipse(x, y + 0.02 * r, 0.56 * r, 0.38 * r), snout, line, outline)
        for side in SIDES:
            canvas.fill(ellipse(x + side * 0.22 * r, y + 0.02 * r, 0.11 * r, 0.18 * r), mix(line, (120, 20, 50), 0.4))
    elif species == "duck":
        beak_x, beak_y = x + yaw * 0.3 * r, y + 0.06 * r
        canvas.shape(ellipse(beak_x, beak_y, 0.66 * r, 0.28 * r), BEAK, BEAK_OUTLINE, outline)
        canvas.stroke(
            polygon([(beak_x - 0.5 * r, beak_y), (beak_x + 0.5 * r, beak_y)], closed=False), BEAK_OUTLINE, 0.06 * r
        )
    elif species == "elephant":
        side = 1 if yaw >= 0 else -1
        middle = [(x, y + 0.5 * r), (x + side * 0.05 * r, y + 0.85 * r), (x + side * 0.45 * r, y + 0.80 * r)]
        canvas.union([(curve((x, y - 0.12 * r), *middle), 0.38 * r)], palette.body, line, outline)
    elif species == "frog":
        mouth_x = skull_x + yaw * 0.3 * r
        ends = [(mouth_x, y + 0.5 * r), (mouth_x + 0.75 * r, y - 0.25 * r)]
        canvas.stroke(curve((mouth_x - 0.75 * r, y - 0.25 * r), *ends), line, 0.11 * r)
        for side in SIDES:
            canvas.fill(ellipse(skull_x + (side * 0.85 + yaw * 0.2) * r, y - 0.05 * r, 0.15 * r, 0.11 * r), CHEEK)


def close_eyes(canvas, palette, eyes, r, pupils=None):
    """Lids over the eyes of a sleeper: a little larger than the whites and their line."""
    r = eye_scale(pupils) * r
    for x, y in eyes.values():
        canvas.fill(ellipse(x, y, 0.27 * r, 0.31 * r), palette.body)
        lashes = [(x, y + 0.22 * r), (x + 0.24 * r, y)]
        canvas.stroke(curve((x - 0.24 * r, y), *lashes), palette.outline, 0.085 * r)
