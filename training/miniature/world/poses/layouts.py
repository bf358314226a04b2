"""What a pose function returns, and the building blocks that pose functions share.

A pose function gets the scene's size, a random source and the figures' heights (pixels) and returns a `Pose`. In a
relation, figure 0 is drawn on the west and figure 1 on the east (`carrying`: below and above).
"""

from dataclasses import dataclass

from .skeletons import EAST, WEST, make_skeleton

BODY = ("tail", "west_leg", "east_leg", "torso")
ALONE = (*BODY, "west_arm", "east_arm", "head")
ARMS = {WEST: "west_arm", EAST: "east_arm"}
LEGS = {WEST: "west_leg", EAST: "east_leg"}


@dataclass(frozen=True)
class Prop:
    """A thing to draw, in units of its own: x to the east, y up, as in body units.

    Attributes:
        name: key of `props.PROPS`. at: pixels, its origin. scale: pixels per unit.
        facing: EAST, or WEST for its mirror image. degrees: turned counterclockwise, before it is mirrored.
    """

    name: str
    at: tuple[float, float]
    scale: float
    facing: int = EAST
    degrees: float = 0.0


@dataclass
class Pose:
    """Attributes: skeletons, 1 or 2; order: what is drawn, from back to front: (figure, part) or a Prop."""

    skeletons: list
    order: list


def steps(*pairs):
    """Drawing steps of ((figure, parts), ...)."""
    return [(figure, part) for figure, parts in pairs for part in parts]


def ground_of(size, rng):
    return size * rng.uniform(0.94, 0.975)


def couple(size, rng, heights, gap, yaws, leans=(0.0, 0.0), head_shifts=(0.0, 0.0)):
    """Two standing figures whose feet are `gap` mean heights to the left and right of a jittered centre."""
    center, ground = size * (0.5 + rng.uniform(-0.03, 0.03)), ground_of(size, rng)
    mean = sum(heights) / 2
    return [
        make_skeleton(
            rng, (center + side * gap * mean, ground + size * rng.uniform(-0.01, 0.01)), heights[figure],
            yaws[figure], leans[figure], head_shifts[figure],
        )
        for figure, side in ((0, WEST), (1, EAST))
    ]  # fmt: skip


def join_hands(west, east, height):
    """Bring the inner hands to one point, `height` body units up, half way between the figures."""
    x = (west.pixel("shoulder", EAST)[0] + east.pixel("shoulder", WEST)[0]) / 2
    y = (west.to_pixels((0, height))[1] + east.to_pixels((0, height))[1]) / 2
    for skeleton, side in ((west, EAST), (east, WEST)):
        hand = skeleton.from_pixels((x, y))
        skeleton.bend_arm(side, (hand[0] - side * 0.035, hand[1]))


def inner_arms_last():
    """Drawing steps of a couple whose inner arms cross in front of everything."""
    return steps((0, (*BODY, "west_arm", "head")), (1, (*BODY, "east_arm", "head"))) + [
        (1, "west_arm"),
        (0, "east_arm"),
    ]


def single(size, rng, heights, yaw=0.3, lift=0.0):
    """One standing figure, up to 13 % of the picture's side off its middle, `lift` of it above the ground."""
    x = size * (0.5 + rng.uniform(-0.13, 0.13))
    return make_skeleton(rng, (x, ground_of(size, rng) - lift * size), heights[0], rng.uniform(-yaw, yaw))


def with_thing(size, rng, heights, share, yaw, raised=0.0, aside=0.0, spread=0.04, lean=0.0):
    """A figure that needs room for a thing, and the side (EAST or WEST) to which it turns.

    Args:
        share: of its height that it keeps. yaw: range of its turn to that side. raised: how far the ground lies below
            its origin, body units. aside: shift away from that side; spread: jitter of its place; shares of the size.
        lean: of the neck to that side, body units.
    """
    facing = rng.choice((WEST, EAST))
    x = size * (0.5 - facing * aside + rng.uniform(-spread, spread))
    height = heights[0] * share
    base = (x, ground_of(size, rng) - raised * height)
    return make_skeleton(rng, base, height, facing * rng.uniform(*yaw), facing * lean), facing


def prop_of(name, skeleton, facing=EAST, at=(0.0, 0.0), degrees=0.0):
    """A Prop in the figure's own body units, its origin at `at`; a turned figure's things are turned with it."""
    turned = degrees - facing * skeleton.turn
    return Prop(name, skeleton.seen(skeleton.to_pixels(at)), skeleton.height, facing, turned)


def middle(west, east):
    """Pixels on the ground half way between two figures, and their mean height in pixels."""
    return tuple((a + b) / 2 for a, b in zip(west.base, east.base)), (west.height + east.height) / 2


def reach(skeleton, hands):
    """Put hands at places: {side: (x, y) in body units}."""
    for side, place in hands.items():
        skeleton.bend_arm(side, place)


def step(skeleton, legs):
    """Put legs: {side: ((x, y) of the knee, (x, y) of the foot)}, body units."""
    for side, (knee, foot) in legs.items():
        skeleton.joints[("knee", side)], skeleton.joints[("foot", side)] = knee, foot


def jittered(rng, *values, by=0.012):
    """`values` with uniform noise of half-width `by`."""
    return tuple(value + rng.uniform(-by, by) for value in values)
