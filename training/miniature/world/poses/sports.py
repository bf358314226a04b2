"""Actions of one figure that rides, glides or kicks."""

from .layouts import ARMS, BODY, LEGS, Pose, Prop, jittered, prop_of, reach, step, steps, with_thing
from .skeletons import SIDES


def _astride(skeleton, facing, thing, near_foot, far_foot, handle):
    """Drawing steps of a rider, the far leg behind the thing and the near one before it."""
    near, far = -facing, facing
    for side, (knee, foot) in ((near, near_foot), (far, far_foot)):
        step(skeleton, {side: ((facing * knee[0], knee[1]), (facing * foot[0], foot[1]))})
    reach(skeleton, {side: (facing * handle[0], handle[1]) for side in SIDES})
    before = steps((0, ("tail", LEGS[far], ARMS[far])))
    after = steps((0, ("torso", LEGS[near], "head", ARMS[near])))
    return Pose([skeleton], [*before, prop_of(thing, skeleton, facing), *after])


def riding_bike(size, rng, heights):
    skeleton, facing = with_thing(size, rng, heights, 0.82, (0.45, 0.7), raised=0.26, lean=0.03)
    near, far = jittered(rng, 0.02, 0.09, by=0.02)
    return _astride(
        skeleton, facing, "bicycle", ((0.16, 0.05), (near, -0.13)), ((0.15, 0.10), (far, -0.06)), (0.31, 0.35)
    )


def riding_motorbike(size, rng, heights):
    skeleton, facing = with_thing(size, rng, heights, 0.82, (0.45, 0.7), raised=0.27, lean=0.03)
    return _astride(
        skeleton, facing, "motorbike", ((0.16, 0.06), (0.09, -0.08)), ((0.16, 0.08), (0.16, -0.08)), (0.31, 0.35)
    )


def riding_horse(size, rng, heights):
    skeleton, facing = with_thing(size, rng, heights, 0.76, (0.4, 0.65), raised=0.37, aside=0.04)
    return _astride(
        skeleton, facing, "horse", ((0.02, 0.06), (0.03, -0.10)), ((0.08, 0.06), (0.10, -0.05)), (0.28, 0.30)
    )


def skiing(size, rng, heights):
    skeleton, facing = with_thing(size, rng, heights, 0.84, (0.35, 0.6), raised=0.16, aside=0.03, lean=0.03)
    skeleton.turn = facing * rng.uniform(11, 16)
    reach(skeleton, {side: jittered(rng, side * 0.34 + facing * 0.02, 0.28) for side in SIDES})
    step(skeleton, {side: ((side * 0.09 + facing * 0.07, 0.11), (side * 0.085, 0.045)) for side in SIDES})
    far, near = (
        prop_of("ski_pole", skeleton, facing, skeleton.joints[("hand", side)], rng.uniform(-142, -132))
        for side in (facing, -facing)
    )
    flakes = [
        Prop("snowflake", (size * x, size * rng.uniform(0.06, 0.5)), 0.035 * size)
        for x in (0.06, 0.2, 0.8, 0.94)
        if rng.random() < 0.9
    ]
    order = [prop_of("slope", skeleton, facing), *flakes, far, prop_of("skis", skeleton, facing)]
    order += [*steps((0, (*BODY, "head"))), near, *steps((0, ("west_arm", "east_arm")))]
    return Pose([skeleton], order)


def playing_soccer(size, rng, heights):
    skeleton, facing = with_thing(size, rng, heights, 0.90, (0.25, 0.5), aside=0.06, lean=-0.03)
    skeleton.turn = -facing * rng.uniform(4, 10)
    reach(skeleton, {facing: jittered(rng, facing * 0.31, 0.50), -facing: jittered(rng, -facing * 0.32, 0.30)})
    hip = skeleton.joints[("hip", facing)]
    step(skeleton, {facing: ((hip[0] + facing * 0.11, 0.11), (hip[0] + facing * 0.23, 0.07))})
    x, y = jittered(rng, facing * 0.52, 0.20, by=0.03)
    ball = Prop("football", skeleton.to_pixels((x, y)), skeleton.height, degrees=rng.uniform(0, 72))
    shadow = Prop("shadow", skeleton.to_pixels((x, 0.0)), 0.10 * skeleton.height)
    return Pose([skeleton], [shadow, *steps((0, (*BODY, "head", "west_arm", "east_arm"))), ball])
