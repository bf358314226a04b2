"""What the characters do: the skeletons of every relation and action, and the order in which their parts are drawn.

A pose function gets the scene's size, a random source and the two figures' heights (pixels) and returns a `Pose`. In a
relation, figure 0 is drawn on the west and figure 1 on the east (`carrying`: below and above).
"""

from dataclasses import dataclass, field

from .skeletons import EAST, WEST, make_skeleton

BODY = ("tail", "west_leg", "east_leg", "torso")
ALONE = (*BODY, "west_arm", "east_arm", "head")


@dataclass
class Pose:
    """Attributes: skeletons, 1 or 2; order: list of (figure, part); prop: name of a thing drawn last before `after`."""

    skeletons: list
    order: list
    prop: str | None = None
    prop_place: tuple = ()
    after_prop: list = field(default_factory=list)


def _order(*pairs):
    return [(figure, part) for figure, parts in pairs for part in parts]


def _ground(size, rng):
    return size * rng.uniform(0.94, 0.975)


def _couple(size, rng, heights, gap, yaws, leans=(0.0, 0.0), head_shifts=(0.0, 0.0)):
    """Two standing figures whose feet are `gap` mean heights to the left and right of a jittered centre."""
    center, ground = size * (0.5 + rng.uniform(-0.03, 0.03)), _ground(size, rng)
    mean = sum(heights) / 2
    return [
        make_skeleton(
            rng, (center + side * gap * mean, ground + size * rng.uniform(-0.01, 0.01)), heights[figure],
            yaws[figure], leans[figure], head_shifts[figure],
        )
        for figure, side in ((0, WEST), (1, EAST))
    ]  # fmt: skip


def _join_hands(west, east, height):
    """Bring the inner hands to one point, `height` body units up, half way between the figures."""
    x = (west.pixel("shoulder", EAST)[0] + east.pixel("shoulder", WEST)[0]) / 2
    y = (west.to_pixels((0, height))[1] + east.to_pixels((0, height))[1]) / 2
    for skeleton, side in ((west, EAST), (east, WEST)):
        hand = skeleton.from_pixels((x, y))
        skeleton.bend_arm(side, (hand[0] - side * 0.035, hand[1]))


def _inner_arms_last():
    return _order((0, (*BODY, "west_arm", "head")), (1, (*BODY, "east_arm", "head"))) + [
        (1, "west_arm"),
        (0, "east_arm"),
    ]


def hugging(size, rng, heights):
    west, east = _couple(
        size,
        rng,
        heights,
        rng.uniform(0.205, 0.235),
        (rng.uniform(0.25, 0.5), -rng.uniform(0.25, 0.5)),
        (0.05, -0.05),
        (-0.05, 0.05),
    )
    for skeleton, other, side in ((west, east, EAST), (east, west, WEST)):
        back = skeleton.from_pixels(other.pixel("neck"))
        skeleton.bend_arm(
            side, (back[0] + side * 0.04, 0.31 + rng.uniform(-0.02, 0.02) + (0.05 if side == EAST else -0.03))
        )
        skeleton.bend_arm(-side, (side * 0.24, 0.22))
    front = rng.randrange(2)
    back, near = 1 - front, ("west_arm", "east_arm")
    order = _order(
        (back, ("tail",)),
        (front, ("tail",)),
        (back, BODY[1:]),
        (front, BODY[1:]),
        (back, ("head",)),
        (front, ("head",)),
    )
    return Pose([west, east], order + [(front, near[0] if front else near[1]), (back, near[0] if back else near[1])])


def shaking_hands(size, rng, heights):
    west, east = _couple(size, rng, heights, rng.uniform(0.31, 0.335), (rng.uniform(0.4, 0.6), -rng.uniform(0.4, 0.6)))
    _join_hands(west, east, rng.uniform(0.32, 0.36))
    return Pose([west, east], _inner_arms_last())


def high_fiving(size, rng, heights):
    west, east = _couple(
        size, rng, heights, rng.uniform(0.325, 0.345), (rng.uniform(0.25, 0.45), -rng.uniform(0.25, 0.45))
    )
    _join_hands(west, east, rng.uniform(0.70, 0.74))
    return Pose([west, east], _inner_arms_last())


def back_to_back(size, rng, heights):
    west, east = _couple(
        size, rng, heights, rng.uniform(0.215, 0.235), (-rng.uniform(0.8, 1), rng.uniform(0.8, 1)), (0.015, -0.015)
    )
    for skeleton, side in ((west, WEST), (east, EAST)):  # arms crossed in front of the chest
        skeleton.bend_arm(side, (side * 0.05, 0.28))
        skeleton.bend_arm(-side, (side * 0.09, 0.34))
    order = _order(
        (0, (*BODY, "head")), (1, (*BODY, "head")), (0, ("west_arm", "east_arm")), (1, ("east_arm", "west_arm"))
    )
    return Pose([west, east], [(0, "tail"), (1, "tail")] + [step for step in order if step[1] != "tail"])


def kissing(size, rng, heights):
    west, east = _couple(
        size,
        rng,
        heights,
        rng.uniform(0.305, 0.325),
        (rng.uniform(0.85, 1), -rng.uniform(0.85, 1)),
        (0.03, -0.03),
        (0.035, -0.035),
    )
    for skeleton, side in ((west, WEST), (east, EAST)):  # hands behind the back
        skeleton.bend_arm(side, (side * 0.20, 0.24))
        skeleton.bend_arm(-side, (-side * 0.10, 0.25))
    order = _order((0, (*BODY, "west_arm", "east_arm", "head")), (1, (*BODY, "west_arm", "east_arm", "head")))
    x = (west.pixel("head")[0] + east.pixel("head")[0]) / 2
    y = min(west.pixel("head")[1], east.pixel("head")[1]) - 0.30 * min(heights)
    return Pose([west, east], order, "heart", (x, y, 0.10 * min(heights)))


def holding_hands(size, rng, heights):
    west, east = _couple(
        size, rng, heights, rng.uniform(0.285, 0.31), (rng.uniform(-0.15, 0.1), rng.uniform(-0.1, 0.15))
    )
    _join_hands(west, east, rng.uniform(0.17, 0.20))
    for skeleton, side in ((west, WEST), (east, EAST)):
        skeleton.bend_arm(side, (side * 0.30, 0.22))
    return Pose([west, east], _inner_arms_last())


def dancing(size, rng, heights):
    west, east = _couple(
        size,
        rng,
        heights,
        rng.uniform(0.30, 0.33),
        (rng.uniform(0.1, 0.3), -rng.uniform(0.1, 0.3)),
        (-0.04, 0.04),
        (-0.03, 0.03),
    )
    _join_hands(west, east, rng.uniform(0.52, 0.56))
    for skeleton, side in ((west, WEST), (east, EAST)):
        skeleton.bend_arm(side, (side * 0.33, 0.68 + rng.uniform(-0.02, 0.02)))
        hip = skeleton.joints[("hip", side)]  # the outer leg kicks
        skeleton.joints[("knee", side)] = (hip[0] + side * 0.07, 0.13)
        skeleton.joints[("foot", side)] = (hip[0] + side * 0.14, 0.11)
    order = _order((0, (*BODY, "head", "west_arm")), (1, (*BODY, "head", "east_arm")))
    return Pose([west, east], order + [(1, "west_arm"), (0, "east_arm")])


def carrying(size, rng, heights):
    scale = 0.56 * size / max(heights)  # both fit above each other
    low, high = heights[0] * scale, heights[1] * scale * 0.84
    x, ground = size * (0.5 + rng.uniform(-0.06, 0.06)), _ground(size, rng)
    carrier = make_skeleton(rng, (x, ground), low, rng.uniform(-0.2, 0.2))
    rider = make_skeleton(rng, (x + size * rng.uniform(-0.01, 0.01), ground - 0.80 * low), high, rng.uniform(-0.2, 0.2))
    for side in (WEST, EAST):
        carrier.bend_arm(side, (side * 0.29, 0.70))
        rider.joints[("foot", side)] = (side * 0.17, 0.05)
        rider.joints[("knee", side)] = (side * 0.13, 0.10)
        rider.bend_arm(side, (side * 0.33, 0.50))
    return Pose([carrier, rider], _order((1, ALONE), (0, (*BODY, "head", "west_arm", "east_arm"))))


def _single(size, rng, heights, yaw=0.3, lift=0.0):
    x = size * (0.5 + rng.uniform(-0.13, 0.13))
    return make_skeleton(rng, (x, _ground(size, rng) - lift * size), heights[0], rng.uniform(-yaw, yaw))


def standing(size, rng, heights):
    return Pose([_single(size, rng, heights)], _order((0, ALONE)))


def waving(size, rng, heights):
    skeleton = _single(size, rng, heights)
    skeleton.bend_arm(EAST, (0.37, rng.uniform(0.60, 0.68)))
    return Pose([skeleton], _order((0, (*BODY, "west_arm", "head", "east_arm"))))


def jumping(size, rng, heights):
    skeleton = _single(size, rng, [0.93 * heights[0]], lift=rng.uniform(0.09, 0.12))
    for side in (WEST, EAST):
        skeleton.bend_arm(side, (side * 0.36, 0.66 + rng.uniform(-0.02, 0.02)))
        skeleton.joints[("knee", side)] = (side * 0.15, 0.12)
        skeleton.joints[("foot", side)] = (side * 0.19, 0.06)
    ground = skeleton.base[1] + 0.105 * size
    return Pose(
        [skeleton],
        _order((0, (*BODY, "head", "west_arm", "east_arm"))),
        "shadow",
        (skeleton.base[0], ground, 0.2 * heights[0]),
    )


def playing_guitar(size, rng, heights):
    skeleton = _single(size, rng, heights, yaw=0.15)
    skeleton.bend_arm(WEST, (-0.05, 0.24))
    skeleton.bend_arm(EAST, (0.27, 0.36))
    place = (*skeleton.to_pixels((-0.04, 0.24)), skeleton.height)
    return Pose([skeleton], _order((0, (*BODY, "head"))), "guitar", place, _order((0, ("west_arm", "east_arm"))))


RELATIONS = {
    "high_fiving": high_fiving, "back_to_back": back_to_back, "kissing": kissing, "holding_hands": holding_hands,
    "hugging": hugging, "shaking_hands": shaking_hands, "dancing": dancing, "carrying": carrying,
}  # fmt: skip
ACTIONS = {"standing": standing, "waving": waving, "jumping": jumping, "playing_guitar": playing_guitar}
POSES = {**RELATIONS, **ACTIONS}
