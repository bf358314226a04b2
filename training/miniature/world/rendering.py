"""The world itself: a scene of one or two characters, rendered with exact masks, boxes and keypoints."""

import random
from dataclasses import dataclass

import numpy as np

from .canvas import Canvas, box_of, curve, ellipse, polygon, rectangle
from .characters import Figure
from .poses import POSES, RELATIONS
from .proportions import PROPORTIONS
from .skeletons import PARTS, keypoint_places

IMAGE_SIZE, PROMPT_SIZE = PROPORTIONS.picture, PROPORTIONS.prompt  # pixels
NO_OWNER = 0

# name: (sky, ground), sRGB 0-255
BACKGROUNDS = {
    "meadow": ((175, 220, 250), (150, 205, 110)),
    "night": ((38, 42, 92), (62, 80, 88)),
    "studio": ((226, 216, 204), (205, 190, 172)),
}
HORIZON = 0.70  # share of the height


@dataclass
class Scene:
    """One rendered scene. Characters come in the caption's order.

    Attributes:
        image: (S, S, 3) uint8. characters: list of N. pose: key of POSES. background: key of BACKGROUNDS.
        masks: (N, S, S) bool, what is seen of each character. boxes: (N, 4) XYXY in [0, 1] around the masks.
        keypoints: (N, 17, 3) x, y in [0, 1] and visibility 0 or 1, in AP-10K order.
        details: for each character {fine attribute: [(x, y) in [0, 1]]} where it is drawn, hidden or not.
    """

    image: np.ndarray
    characters: list
    pose: str
    background: str
    masks: np.ndarray | None = None
    boxes: np.ndarray | None = None
    keypoints: np.ndarray | None = None
    details: list | None = None


def random_heights(pose, size, rng):
    """Heights of the figures in pixels; pairs are a little smaller, and differ by up to a fifth."""
    if pose in RELATIONS:
        mean = rng.uniform(0.66, 0.74)
        return [size * mean * rng.uniform(0.92, 1.06) for _ in range(2)]
    return [size * rng.uniform(0.66, 0.80)]


def render(characters, pose, background, rng: random.Random, size=IMAGE_SIZE, swapped=None, annotate=True):
    """Draw a scene.

    Args:
        characters: one Character for an action, two for a relation, in the caption's order.
        pose, background: keys of POSES and BACKGROUNDS. rng: source of every jitter. size: side in pixels.
        swapped: whether the first-named stands in the east; None draws it, 20 % of the scenes. In "carrying" the roles
            are up and down, so nothing is swapped.
        annotate: whether to work out masks, boxes and keypoints (doubles the time).
    """
    expected = 2 if pose in RELATIONS else 1
    if len(characters) != expected:
        raise ValueError(f"Pose {pose!r} takes {expected} character(s), got {len(characters)}.")
    if swapped is None:
        swapped = rng.random() < 0.2
    places = [1, 0] if expected == 2 and swapped and pose != "carrying" else list(range(expected))
    canvas = Canvas(size, with_parts=annotate)
    _draw_background(canvas, background, rng)
    layout = POSES[pose](size, rng, random_heights(pose, size, rng))
    figures = [None] * expected
    for index, place in enumerate(places):
        figures[place] = Figure(canvas, index + 1, characters[index], layout.skeletons[place])
    if layout.prop == "shadow":
        _draw_prop(canvas, layout)
    for figure, part in layout.order:
        figures[figure].draw(part)
    if layout.prop not in (None, "shadow"):
        _draw_prop(canvas, layout)
    for figure, part in layout.after_prop:
        figures[figure].draw(part)
    scene = Scene(canvas.picture(), list(characters), pose, background)
    scene.details = [_detail_places(figures[place], size) for place in places]
    if annotate:
        _annotate(scene, canvas, [figures[place] for place in places])
    return scene


def _detail_places(figure, size):
    places = {"glyph": [figure.glyph_place], "pupils": list(figure.eyes.values())} if figure.glyph_place else {}
    return {name: [(x / size, y / size) for x, y in points] for name, points in places.items()}


def _annotate(scene, canvas, figures):
    owners, parts = canvas.owners_and_parts()
    size = canvas.size
    scene.masks = np.stack([owners == index + 1 for index in range(len(figures))])
    scene.boxes = np.array([box_of(mask) for mask in scene.masks], np.float32)
    scene.keypoints = np.zeros((len(figures), 17, 3), np.float32)
    for index, figure in enumerate(figures):
        for number, (x, y, showing) in enumerate(keypoint_places(figure.skeleton, figure.eyes, figure.nose)):
            column, row = int(x), int(y)
            inside = 0 <= column < size and 0 <= row < size
            visible = (
                inside and owners[row, column] == index + 1 and parts[row, column] in {PARTS[part] for part in showing}
            )
            scene.keypoints[index, number] = (
                min(max(x / size, 0.0), 1.0),
                min(max(y / size, 0.0), 1.0),
                float(visible),
            )


def _draw_background(canvas, background, rng):
    sky, ground = BACKGROUNDS[background]
    size = canvas.size
    horizon = size * (HORIZON + rng.uniform(-0.03, 0.03))
    with canvas.owned_by(NO_OWNER, 0):
        canvas.fill(rectangle(0, 0, size, size), sky)
        canvas.fill(rectangle(0, horizon, size, size), ground)


def _draw_prop(canvas, layout):
    x, y, scale = layout.prop_place
    with canvas.owned_by(NO_OWNER, PARTS["prop"]):
        if layout.prop == "heart":
            lobes = [
                (ellipse(x - 0.5 * scale, y, 0.58 * scale, 0.58 * scale), 0.0),
                (ellipse(x + 0.5 * scale, y, 0.58 * scale, 0.58 * scale), 0.0),
            ]
            point = polygon(
                [(x - 1.0 * scale, y + 0.28 * scale), (x + 1.0 * scale, y + 0.28 * scale), (x, y + 1.3 * scale)]
            )
            canvas.union([*lobes, (point, 0.0)], (240, 40, 90), (110, 10, 40), 0.13 * scale)
        elif layout.prop == "shadow":
            canvas.fill(ellipse(x, y, scale, 0.2 * scale), (70, 80, 80))
        elif layout.prop == "guitar":
            neck = curve((x, y), (x + 0.2 * scale, y - 0.08 * scale), (x + 0.42 * scale, y - 0.19 * scale))
            canvas.union([(neck, 0.05 * scale)], (120, 70, 30), (50, 25, 10), 0.012 * scale)
            body = [
                (ellipse(x - 0.07 * scale, y + 0.02 * scale, 0.12 * scale, 0.11 * scale), 0.0),
                (ellipse(x + 0.05 * scale, y - 0.02 * scale, 0.09 * scale, 0.085 * scale), 0.0),
            ]
            canvas.union(body, (225, 150, 60), (90, 50, 15), 0.014 * scale)
            canvas.fill(ellipse(x - 0.03 * scale, y, 0.04 * scale, 0.04 * scale), (60, 30, 15))
