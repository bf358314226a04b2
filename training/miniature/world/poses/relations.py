"""Relations of two standing figures: the eight of the world's first edition."""

from .layouts import ALONE, BODY, Pose, Prop, couple, ground_of, inner_arms_last, join_hands, steps
from .skeletons import EAST, WEST, make_skeleton


def hugging(size, rng, heights):
    west, east = couple(
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
    order = steps(
        (back, ("tail",)),
        (front, ("tail",)),
        (back, BODY[1:]),
        (front, BODY[1:]),
        (back, ("head",)),
        (front, ("head",)),
    )
    return Pose([west, east], order + [(front, near[0] if front else near[1]), (back, near[0] if back else near[1])])


def shaking_hands(size, rng, heights):
    west, east = couple(size, rng, heights, rng.uniform(0.31, 0.335), (rng.uniform(0.4, 0.6), -rng.uniform(0.4, 0.6)))
    join_hands(west, east, rng.uniform(0.32, 0.36))
    return Pose([west, east], inner_arms_last())


def high_fiving(size, rng, heights):
    west, east = couple(
        size, rng, heights, rng.uniform(0.325, 0.345), (rng.uniform(0.25, 0.45), -rng.uniform(0.25, 0.45))
    )
    join_hands(west, east, rng.uniform(0.70, 0.74))
    return Pose([west, east], inner_arms_last())


def back_to_back(size, rng, heights):
    west, east = couple(
        size, rng, heights, rng.uniform(0.215, 0.235), (-rng.uniform(0.8, 1), rng.uniform(0.8, 1)), (0.015, -0.015)
    )
    for skeleton, side in ((west, WEST), (east, EAST)):  # arms crossed in front of the chest
        skeleton.bend_arm(side, (side * 0.05, 0.28))
        skeleton.bend_arm(-side, (side * 0.09, 0.34))
    order = steps(
        (0, (*BODY, "head")), (1, (*BODY, "head")), (0, ("west_arm", "east_arm")), (1, ("east_arm", "west_arm"))
    )
    return Pose([west, east], [(0, "tail"), (1, "tail")] + [step for step in order if step[1] != "tail"])


def kissing(size, rng, heights):
    west, east = couple(
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
    order = steps((0, (*BODY, "west_arm", "east_arm", "head")), (1, (*BODY, "west_arm", "east_arm", "head")))
    x = (west.pixel("head")[0] + east.pixel("head")[0]) / 2
    y = min(west.pixel("head")[1], east.pixel("head")[1]) - 0.30 * min(heights)
    return Pose([west, east], [*order, Prop("heart", (x, y), 0.10 * min(heights))])


def holding_hands(size, rng, heights):
    west, east = couple(
        size, rng, heights, rng.uniform(0.285, 0.31), (rng.uniform(-0.15, 0.1), rng.uniform(-0.1, 0.15))
    )
    join_hands(west, east, rng.uniform(0.17, 0.20))
    for skeleton, side in ((west, WEST), (east, EAST)):
        skeleton.bend_arm(side, (side * 0.30, 0.22))
    return Pose([west, east], inner_arms_last())


def dancing(size, rng, heights):
    west, east = couple(
        size,
        rng,
        heights,
        rng.uniform(0.30, 0.33),
        (rng.uniform(0.1, 0.3), -rng.uniform(0.1, 0.3)),
        (-0.04, 0.04),
        (-0.03, 0.03),
    )
    join_hands(west, east, rng.uniform(0.52, 0.56))
    for skeleton, side in ((west, WEST), (east, EAST)):
        skeleton.bend_arm(side, (side * 0.33, 0.68 + rng.uniform(-0.02, 0.02)))
        hip = skeleton.joints[("hip", side)]  # the outer leg kicks
        skeleton.joints[("knee", side)] = (hip[0] + side * 0.07, 0.13)
        skeleton.joints[("foot", side)] = (hip[0] + side * 0.14, 0.11)
    order = steps((0, (*BODY, "head", "west_arm")), (1, (*BODY, "head", "east_arm")))
    return Pose([west, east], order + [(1, "west_arm"), (0, "east_arm")])


def carrying(size, rng, heights):
    scale = 0.56 * size / max(heights)  # both fit above each other
    low, high = heights[0] * scale, heights[1] * scale * 0.84
    x, ground = size * (0.5 + rng.uniform(-0.06, 0.06)), ground_of(size, rng)
    carrier = make_skeleton(rng, (x, ground), low, rng.uniform(-0.2, 0.2))
    rider = make_skeleton(rng, (x + size * rng.uniform(-0.01, 0.01), ground - 0.80 * low), high, rng.uniform(-0.2, 0.2))
    for side in (WEST, EAST):
        carrier.bend_arm(side, (side * 0.29, 0.70))
        rider.joints[("foot", side)] = (side * 0.17, 0.05)
        rider.joints[("knee", side)] = (side * 0.13, 0.10)
        rider.bend_arm(side, (side * 0.33, 0.50))
    return Pose([carrier, rider], steps((1, ALONE), (0, (*BODY, "head", "west_arm", "east_arm"))))
