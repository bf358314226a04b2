"""Actions of one figure that stands, jumps or dances, with at most a thing in its hands."""

from .layouts import ALONE, BODY, Pose, Prop, single, steps
from .skeletons import EAST, WEST


def standing(size, rng, heights):
    return Pose([single(size, rng, heights)], steps((0, ALONE)))


def waving(size, rng, heights):
    skeleton = single(size, rng, heights)
    skeleton.bend_arm(EAST, (0.37, rng.uniform(0.60, 0.68)))
    return Pose([skeleton], steps((0, (*BODY, "west_arm", "head", "east_arm"))))


def jumping(size, rng, heights):
    skeleton = single(size, rng, [0.93 * heights[0]], lift=rng.uniform(0.09, 0.12))
    for side in (WEST, EAST):
        skeleton.bend_arm(side, (side * 0.36, 0.66 + rng.uniform(-0.02, 0.02)))
        skeleton.joints[("knee", side)] = (side * 0.15, 0.12)
        skeleton.joints[("foot", side)] = (side * 0.19, 0.06)
    ground = (skeleton.base[0], skeleton.base[1] + 0.105 * size)
    shadow = Prop("shadow", ground, 0.2 * heights[0])
    return Pose([skeleton], [shadow, *steps((0, (*BODY, "head", "west_arm", "east_arm")))])


def playing_guitar(size, rng, heights):
    skeleton = single(size, rng, heights, yaw=0.15)
    skeleton.bend_arm(WEST, (-0.05, 0.24))
    skeleton.bend_arm(EAST, (0.27, 0.36))
    guitar = Prop("guitar", skeleton.to_pixels((-0.04, 0.24)), skeleton.height)
    return Pose([skeleton], [*steps((0, (*BODY, "head"))), guitar, *steps((0, ("west_arm", "east_arm")))])
