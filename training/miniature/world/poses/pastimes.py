"""Actions of one figure at, in or with a thing that stays where it is."""

from .layouts import BODY, Pose, Prop, jittered, prop_of, reach, single, step, steps, with_thing
from .skeletons import EAST, SIDES, WEST

BOTH_ARMS = (("west_arm", "east_arm"),)


def _note(name, skeleton, x, y, rng, share=1.0):
    """A prop of `share` of its size near the place (x, y), body units."""
    at = skeleton.to_pixels(jittered(rng, x, y, by=0.03))
    return Prop(name, at, share * skeleton.height, degrees=rng.uniform(-12, 12))


def reading_book(size, rng, heights):
    skeleton, _ = with_thing(size, rng, heights, 0.88, (-0.15, 0.15), raised=0.11, spread=0.10)
    reach(skeleton, {side: (side * 0.21, 0.13) for side in SIDES})
    step(skeleton, {side: ((side * 0.11, 0.12), (side * 0.12, -0.03)) for side in SIDES})
    book = prop_of("book", skeleton, at=jittered(rng, 0.0, 0.04, by=0.008))
    order = [prop_of("armchair", skeleton), *steps((0, (*BODY, "head"))), book, *steps((0, *BOTH_ARMS))]
    return Pose([skeleton], order)


def eating_dinner(size, rng, heights):
    skeleton, facing = with_thing(size, rng, heights, 0.92, (-0.1, 0.25), raised=0.08, spread=0.06)
    west, east = jittered(rng, 0.25, 0.30)
    reach(skeleton, {WEST: (-0.32, west), EAST: (0.32, east)})
    order = [*steps((0, (*BODY, "head"))), prop_of("dinner_table", skeleton, facing)]
    for side, name in ((-facing, "fork"), (facing, "knife")):
        hand = skeleton.joints[("hand", side)]
        order.append(prop_of(name, skeleton, side, (hand[0] + side * 0.02, hand[1] + 0.06), rng.uniform(-22, -5)))
    return Pose([skeleton], [*order, *steps((0, *BOTH_ARMS))])


def cooking_lunch(size, rng, heights):
    skeleton, facing = with_thing(size, rng, heights, 0.90, (0.2, 0.5), aside=0.17)
    reach(skeleton, {facing: (facing * 0.22, 0.40), -facing: (-facing * 0.27, 0.30)})
    order = steps((0, (*BODY, "head")))
    order += [prop_of("stove", skeleton, facing, (facing * 0.54, 0.0))]
    egg = jittered(rng, facing * 0.56, 0.58, by=0.03)
    order += [prop_of("fried_egg", skeleton, facing, egg, rng.uniform(-15, 15)), *steps((0, *BOTH_ARMS))]
    return Pose([skeleton], order)


def playing_piano(size, rng, heights):
    skeleton, facing = with_thing(size, rng, heights, 0.88, (0.0, 0.3), raised=0.09, spread=0.03)
    reach(skeleton, {side: jittered(rng, side * 0.21, 0.15, by=0.02) for side in SIDES})
    order = [prop_of("piano_lid", skeleton, facing), *steps((0, (*BODY, "head")))]
    order += [prop_of("keyboard", skeleton), *steps((0, *BOTH_ARMS))]
    return Pose([skeleton], [*order, _note("notes", skeleton, -facing * 0.44, 0.75, rng)])


def singing(size, rng, heights):
    skeleton, facing = with_thing(size, rng, heights, 0.95, (-0.2, 0.2), spread=0.08)
    reach(skeleton, {facing: (facing * 0.27, 0.36), -facing: jittered(rng, -facing * 0.36, 0.55)})
    stand = prop_of("microphone", skeleton, facing, (facing * 0.27, 0.02))
    order = [*steps((0, (*BODY, "head"))), stand, *steps((0, *BOTH_ARMS))]
    order += [_note("notes", skeleton, side * 0.46, up, rng) for side, up in ((facing, 0.76), (-facing, 0.86))]
    return Pose([skeleton], order)


def sleeping(size, rng, heights):
    skeleton, facing = with_thing(size, rng, heights, 0.84, (0.0, 0.1), spread=0.02)
    height = skeleton.height
    skeleton.turn, skeleton.asleep = facing * rng.uniform(74, 84), True
    middle = (size * 0.5, size * rng.uniform(0.68, 0.74))
    skeleton.base = (middle[0] - facing * 0.47 * height, middle[1] - 0.02 * height)
    reach(skeleton, {side: jittered(rng, side * 0.19, 0.20) for side in SIDES})
    order = [Prop("hammock_back", middle, 0.54 * size), *steps((0, (*BODY, "west_arm", "east_arm", "head")))]
    order.append(Prop("hammock_front", middle, 0.54 * size))
    for number in range(3):
        at = (middle[0] + facing * (0.06 - 0.09 * number) * size, middle[1] - (0.33 + 0.10 * number) * size)
        order.append(Prop("z", at, (0.05 + 0.014 * number) * size))
    return Pose([skeleton], order)


def lifting_weights(size, rng, heights):
    skeleton = single(size, rng, [0.90 * heights[0]], yaw=0.15)
    skeleton.base = (size * (0.5 + rng.uniform(-0.05, 0.05)), skeleton.base[1])
    (up,) = jittered(rng, 0.67)
    reach(skeleton, {side: (side * 0.30, up) for side in SIDES})
    step(skeleton, {side: ((side * 0.15, 0.12), (side * 0.16, 0.045)) for side in SIDES})
    barbell = prop_of("barbell", skeleton, at=(skeleton.joints["head"][0], up), degrees=rng.uniform(-4, 4))
    return Pose([skeleton], [*steps((0, BODY)), barbell, *steps((0, ("head", "west_arm", "east_arm")))])


def dancing_alone(size, rng, heights):
    skeleton, facing = with_thing(size, rng, heights, 0.92, (-0.2, 0.2), lean=0.04)
    skeleton.turn = facing * rng.uniform(4, 9)
    reach(skeleton, {facing: jittered(rng, facing * 0.35, 0.70), -facing: jittered(rng, -facing * 0.30, 0.22)})
    hip = skeleton.joints[("hip", -facing)]
    step(skeleton, {-facing: ((hip[0] - facing * 0.07, 0.12), (hip[0] - facing * 0.16, 0.06))})
    ball = Prop("disco_ball", (size * (0.5 - facing * rng.uniform(0.28, 0.32)), 0.16 * size), 0.7 * size)
    floor = Prop("dance_floor", skeleton.base, skeleton.height)
    order = [floor, ball, *steps((0, (*BODY, "head", "west_arm", "east_arm")))]
    return Pose([skeleton], [*order, _note("notes", skeleton, -facing * 0.48, 0.50, rng)])
