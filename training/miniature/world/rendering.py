"""The world itself: a scene of one or two characters, rendered with exact masks, boxes and keypoints."""

import random
from dataclasses import dataclass

import numpy as np
import skia

from .canvas import Canvas, box_of, rectangle
from .characters import Figure
from .poses import POSES, RELATIONS
from .poses.layouts import Prop
from .poses.skeletons import PARTS, keypoint_places
from .proportions import PROPORTIONS
from .props import draw_prop

IMAGE_SIZE, PROMPT_SIZE = PROPORTIONS.picture, PROPORTIONS.prompt  # pixels
NO_OWNER = 0

# name: (sky, ground), sRGB 0-255
BACKGROUNDS = {
    "meadow": ((175, 220, 250), (150, 205, 110)),
    "night": ((38, 42, 92), (62, 80, 88)),
    "studio": ((226, 216, 204), (205, 190, 172)),
}
HORIZON = 0.70  # share of the height
SMALL = (0.4, 0.66)  # range of a small scene's size, shares of the usual one


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


def render(
    characters, pose, background, rng: random.Random, size=IMAGE_SIZE, swapped=None, annotate=True, small=False,
    layout_of=None, figure_scale=1.0,
):  # fmt: skip
    """Draw a scene.

    Args:
        characters: one Character for an action, two for a relation, in the caption's order.
        pose, background: keys of POSES and BACKGROUNDS. rng: source of every jitter. size: side in pixels.
        swapped: whether the first-named stands in the east; None draws it, 20 % of the scenes. In "carrying" the roles
            are up and down, so nothing is swapped.
        annotate: whether to work out masks, boxes and keypoints (doubles the time).
        small: whether characters and things are drawn at a share `SMALL` of their usual size, somewhere on the ground.
        figure_scale: of the figures' heights; they stand where they would.
        layout_of: a pose function to use instead of the pose's own: pictures that show no pose rightly.
    """
    expected = 2 if pose in RELATIONS else 1
    if len(characters) != expected:
        raise ValueError(f"Pose {pose!r} takes {expected} character(s), got {len(characters)}.")
    if swapped is None:
        swapped = rng.random() < 0.2
    places = [1, 0] if expected == 2 and swapped and pose != "carrying" else list(range(expected))
    canvas = Canvas(size, with_parts=annotate)
    _draw_background(canvas, background, rng)
    heights = [figure_scale * height for height in random_heights(pose, size, rng)]
    layout = (layout_of or POSES[pose])(size, rng, heights)
    figures = [None] * expected
    for index, place in enumerate(places):
        figures[place] = Figure(canvas, index + 1, characters[index], layout.skeletons[place])
    shrinking = _shrinking(size, rng) if small else skia.Matrix()
    with canvas.transformed(*([shrinking] if small else [])):
        for step in layout.order:
            if isinstance(step, Prop):
                with canvas.owned_by(NO_OWNER, PARTS["prop"]):
                    draw_prop(canvas, step)
            else:
                figure, part = step
                figures[figure].draw(part)
    scene = Scene(canvas.picture(), list(characters), pose, background)
    scene.details = [_detail_places(figures[place], size, shrinking) for place in places]
    if annotate:
        _annotate(scene, canvas, [figures[place] for place in places], shrinking)
    return scene


def empty_place(background, rng: random.Random, size=IMAGE_SIZE):
    """(S, S, 3) uint8: a background with nobody in it."""
    canvas = Canvas(size)
    _draw_background(canvas, background, rng)
    return canvas.picture()


def _detail_places(figure, size, shrinking):
    if figure.glyph_place is None:
        return {}
    places = {"glyph": [figure.glyph_place], "pupils": list(figure.eyes.values())}
    seen = {name: [figure.skeleton.seen(point) for point in points] for name, points in places.items()}
    moved = {name: [shrinking.mapXY(*point) for point in points] for name, points in seen.items()}
    return {name: [(x / size, y / size) for x, y in points] for name, points in moved.items()}


def _shrinking(size, rng):
    """Matrix that makes a scene smaller; its feet stand between the horizon and the lower rim."""
    share = rng.uniform(*SMALL)
    left = size * (1 - share) * rng.random()
    feet = 0.96  # about where a layout's ground lies, a share of the size
    top = size * (rng.uniform(HORIZON + 0.05, feet) - feet * share)
    return skia.Matrix().setTranslate(left, top).preScale(share, share)


def _in_picture(skeleton, shrinking, place):
    """Pixels of a place that is given as if its figure stood upright in a scene of the usual size."""
    place = skeleton.seen(place)
    if shrinking.isIdentity():  # float64 stays what it is
        return place
    moved = shrinking.mapXY(*place)
    return moved.fX, moved.fY


def _annotate(scene, canvas, figures, shrinking):
    owners, parts = canvas.owners_and_parts()
    size = canvas.size
    scene.masks = np.stack([owners == index + 1 for index in range(len(figures))])
    scene.boxes = np.array([box_of(mask) for mask in scene.masks], np.float32)
    scene.keypoints = np.zeros((len(figures), 17, 3), np.float32)
    for index, figure in enumerate(figures):
        for number, (*place, showing) in enumerate(keypoint_places(figure.skeleton, figure.eyes, figure.nose)):
            x, y = _in_picture(figure.skeleton, shrinking, place)
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
