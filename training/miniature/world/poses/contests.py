"""Relations of two figures that play, fight or sit together: those of the world's second edition."""

from .layouts import ARMS, BODY, LEGS, Pose, Prop, couple, jittered, join_hands, middle, prop_of, reach, step, steps
from .skeletons import EAST, WEST

INNER = ((0, EAST), (1, WEST))  # (figure, its side that faces the other)


def _smaller(heights, share):
    return [share * height for height in heights]


def _facing(rng, low, high):
    """Turns of two figures that look at each other."""
    return rng.uniform(low, high), -rng.uniform(low, high)


def playing_chess(size, rng, heights):
    west, east = pair = couple(size, rng, _smaller(heights, 0.90), rng.uniform(0.39, 0.42), _facing(rng, 0.4, 0.65))
    busy = rng.randrange(2)
    for (figure, inner), skeleton in zip(INNER, pair):
        skeleton.base = (skeleton.base[0], skeleton.base[1] - 0.06 * skeleton.height)
        hand = (inner * 0.28, 0.34) if figure == busy else (inner * 0.17, 0.16)
        reach(skeleton, {inner: jittered(rng, *hand), -inner: (-inner * 0.20, 0.20)})
        step(skeleton, {side: ((inner * 0.13, 0.14), (inner * 0.13 + side * 0.02, 0.0)) for side in (WEST, EAST)})
    (x, y), height = middle(west, east)
    table = Prop("chess_table", (x, y), height)
    order = [prop_of("stool", skeleton) for skeleton in pair]
    order += steps(*((figure, (*BODY, ARMS[-inner], "head")) for figure, inner in INNER))
    return Pose([west, east], [*order, table, *((figure, ARMS[inner]) for figure, inner in INNER)])


def fencing(size, rng, heights):
    west, east = pair = couple(size, rng, _smaller(heights, 0.89), rng.uniform(0.40, 0.43), _facing(rng, 0.5, 0.75))
    order = []
    for (figure, inner), skeleton in zip(INNER, pair):
        reach(skeleton, {inner: jittered(rng, inner * 0.27, 0.36), -inner: (-inner * 0.27, 0.60)})
        knee, foot = (inner * 0.17, 0.12), (inner * 0.23, 0.045)
        step(skeleton, {inner: (knee, foot), -inner: ((-inner * 0.12, 0.11), (-inner * 0.19, 0.045))})
        order += steps((figure, (*BODY, ARMS[-inner], "head")))
    for (figure, inner), skeleton in zip(INNER, pair):
        hand = skeleton.joints[("hand", inner)]
        order += [prop_of("foil", skeleton, inner, hand, rng.uniform(52, 62)), (figure, ARMS[inner])]
    return Pose([west, east], order)


def playing_basketball(size, rng, heights):
    west, east = pair = couple(size, rng, _smaller(heights, 0.86), rng.uniform(0.37, 0.40), _facing(rng, 0.2, 0.4))
    join_hands(west, east, rng.uniform(0.66, 0.70))
    for (_, inner), skeleton in zip(INNER, pair):
        reach(skeleton, {-inner: jittered(rng, -inner * 0.32, 0.34)})
    x = (west.pixel("hand", EAST)[0] + east.pixel("hand", WEST)[0]) / 2
    y = (west.pixel("hand", EAST)[1] + east.pixel("hand", WEST)[1]) / 2
    _, height = middle(west, east)
    hoop = Prop("hoop", (x + size * rng.uniform(-0.03, 0.03), size * rng.uniform(0.18, 0.20)), 0.62 * size)
    ball = Prop("basketball", (x, y - 0.13 * height), height, degrees=rng.uniform(-30, 30))
    order = [hoop, *steps((0, (*BODY, "west_arm", "head")), (1, (*BODY, "east_arm", "head")))]
    return Pose([west, east], [*order, *steps((1, ("west_arm",)), (0, ("east_arm",))), ball])


def wrestling(size, rng, heights):
    west, east = pair = couple(
        size, rng, _smaller(heights, 0.93), rng.uniform(0.33, 0.35), _facing(rng, 0.5, 0.75), (0.05, -0.05)
    )
    for (figure, inner), skeleton in zip(INNER, pair):
        other = pair[1 - figure]
        shoulder = skeleton.from_pixels(other.pixel("shoulder", -inner))
        reach(skeleton, {inner: (shoulder[0] - inner * 0.02, shoulder[1] + 0.02)})
        waist = skeleton.from_pixels(other.to_pixels((other.joints["root"][0] - inner * 0.11, 0.24)))
        reach(skeleton, {-inner: waist})
        step(skeleton, {side: ((side * 0.15, 0.12), (side * 0.20, 0.045)) for side in (WEST, EAST)})
    ring = Prop("ring", (size * 0.5, size), size)
    order = [ring, *steps((0, BODY), (1, BODY), (0, ("east_arm",)), (1, ("head",)), (0, ("head",)))]
    return Pose([west, east], [*order, *steps((0, ("west_arm",)), (1, ("east_arm", "west_arm")))])


def fighting(size, rng, heights):
    west, east = pair = couple(size, rng, _smaller(heights, 0.92), rng.uniform(0.39, 0.41), _facing(rng, 0.45, 0.7))
    hitting = rng.randrange(2)
    for (figure, inner), skeleton in zip(INNER, pair):
        fist = (inner * 0.33, 0.47) if figure == hitting else (inner * 0.26, 0.40)
        reach(skeleton, {inner: jittered(rng, *fist), -inner: jittered(rng, -inner * 0.24, 0.40)})
        step(skeleton, {side: ((side * 0.13, 0.11), (side * 0.18, 0.045)) for side in (WEST, EAST)})
    (x, y), height = middle(west, east)
    order = steps((0, (*BODY, "head")), (1, (*BODY, "head")))
    order += [Prop("burst", (x, y - 0.46 * height), height, degrees=rng.uniform(-10, 10))]
    for (figure, inner), skeleton in zip(INNER, pair):
        for side in (-inner, inner):
            order.append((figure, ARMS[side]))
            order.append(
                prop_of("glove", skeleton, inner, skeleton.joints[("hand", side)], 25 if side == inner else 70)
            )
    return Pose([west, east], order)


def sitting_back_to_back(size, rng, heights):
    yaws = -rng.uniform(0.75, 0.95), rng.uniform(0.75, 0.95)
    west, east = pair = couple(size, rng, _smaller(heights, 0.94), rng.uniform(0.24, 0.26), yaws, (0.015, -0.015))
    order = []
    for (figure, inner), skeleton in zip(INNER, pair):
        outer = -inner
        skeleton.base = (skeleton.base[0], skeleton.base[1] + 0.05 * skeleton.height)
        step(
            skeleton,
            {outer: ((outer * 0.20, 0.22), (outer * 0.28, 0.11)), inner: ((outer * 0.22, 0.16), (outer * 0.36, 0.10))},
        )
        reach(skeleton, {outer: jittered(rng, outer * 0.26, 0.25), inner: (inner * 0.07, 0.10)})
        order += steps((figure, ("tail", LEGS[outer], ARMS[outer], "torso", LEGS[inner])))
    (x, y), height = middle(west, east)
    hill = Prop("hill", (x, y - 0.12 * height), height)
    order += steps((0, ("head",)), (1, ("head",)), (0, ("east_arm",)), (1, ("west_arm",)))
    return Pose([west, east], [hill, *order])
