"""Scenes that show no pose rightly although they are drawn by the same hand: parts or props missing, poses mixed."""

import random
from dataclasses import dataclass

from ..world.poses import ACTIONS, POSES, RELATIONS
from ..world.poses.layouts import Prop
from ..world.rendering import BACKGROUNDS, render
from ..world.splits import known_poses
from .scenes import Draw

# Things whose absence leaves a pose what it is; without any other thing the pose is not shown.
DECORATIONS = {"heart", "shadow"}
LIMBS = ("west_arm", "east_arm", "west_leg", "east_leg", "torso", "head")
POSE_CHANGING = {"west_arm", "east_arm", "head", "torso"}  # without a leg or a tail most poses can still be told


LEAST_CHANGE = 0.006  # share of the pixels: 100 of 128 x 128, about a paw


@dataclass
class Wrong:
    """A wrong picture. `image`: (S, S, 3) uint8. `pose`: a name, "none", or None: it cannot be said.
    `broken`: whether the drawing itself is damaged."""

    image: object
    pose: str | None
    broken: bool


def _keep(layout, wanted):
    """Only the drawing steps that `wanted(figure, part)` keeps, and all things."""
    layout.order = [step for step in layout.order if isinstance(step, Prop) or wanted(*step)]
    return layout


def _of_figure(order, figure):
    """The drawing steps of one figure, without things."""
    return [step for step in order if not isinstance(step, Prop) and step[0] == figure]


def _drawn(pose, rng: random.Random, draw: Draw, change):
    """`pose` drawn with its layout changed by `change(layout, size)`."""

    def layout_of(size, source, heights):
        return change(POSES[pose](size, source, heights), size)

    characters = [draw(rng) for _ in range(2 if pose in RELATIONS else 1)]
    return render(characters, pose, rng.choice(tuple(BACKGROUNDS)), rng, annotate=False, layout_of=layout_of).image


def parts_missing(rng: random.Random, draw: Draw) -> Wrong:
    """One to three limbs, a torso or a head of somebody are not drawn, and it shows."""
    while True:
        pose, hidden, seed = rng.choice(known_poses()), set(rng.sample(LIMBS, rng.randrange(1, 4))), rng.random()
        who = rng.randrange(2 if pose in RELATIONS else 1)

        def change(layout, size, who=who, hidden=hidden):
            return _keep(layout, lambda figure, part: figure != who or part not in hidden)

        whole = _drawn(pose, random.Random(seed), draw, lambda layout, size: layout)
        image = _drawn(pose, random.Random(seed), draw, change)
        if (whole != image).any(-1).mean() > LEAST_CHANGE:  # a part behind another is not missed
            return Wrong(image, "none" if hidden & POSE_CHANGING else None, True)


def prop_missing(rng: random.Random, draw: Draw) -> Wrong:
    """The pose of somebody with a thing, without the thing."""
    things = {}
    for name in known_poses():
        order = POSES[name](128, random.Random(0), [90, 90]).order
        if found := {step.name for step in order if isinstance(step, Prop)}:
            things[name] = found
    pose = rng.choice(tuple(things))

    def change(layout, size):
        layout.order = [step for step in layout.order if not isinstance(step, Prop)]
        return layout

    return Wrong(_drawn(pose, rng, draw, change), pose if things[pose] <= DECORATIONS else "none", False)


def poses_mixed(rng: random.Random, draw: Draw) -> Wrong:
    """Each of two does its part of another relation."""
    pose, other = rng.sample([name for name in known_poses(RELATIONS) if name != "carrying"], 2)

    def change(layout, size):
        second = POSES[other](size, rng, [skeleton.height for skeleton in layout.skeletons])
        layout.skeletons = [layout.skeletons[0], second.skeletons[1]]
        layout.order = _of_figure(layout.order, 0) + _of_figure(second.order, 1)
        return layout

    return Wrong(_drawn(pose, rng, draw, change), "none", False)


def two_alone(rng: random.Random, draw: Draw) -> Wrong:
    """Two side by side who each do something for themselves."""
    pose = rng.choice([name for name in known_poses(RELATIONS) if name != "carrying"])
    bare = [name for name in known_poses(ACTIONS) if name in ("standing", "waving", "jumping")]

    def change(layout, size):
        layout.order = []
        for figure, place in enumerate(list(layout.skeletons)):
            alone = POSES[rng.choice(bare)](size, rng, [place.height])
            alone.skeletons[0].base = place.base
            layout.skeletons[figure] = alone.skeletons[0]
            layout.order += [(figure, part) for _, part in _of_figure(alone.order, 0)]
        return layout

    return Wrong(_drawn(pose, rng, draw, change), "none", False)


def one_of_two(rng: random.Random, draw: Draw) -> Wrong:
    """A relation of which one figure is not there."""
    gone = rng.randrange(2)

    def change(layout, size):
        return _keep(layout, lambda figure, part: figure != gone)

    return Wrong(_drawn(rng.choice(known_poses(RELATIONS)), rng, draw, change), "none", False)


WRONG_LAYOUTS = {
    "parts missing": parts_missing,
    "prop missing": prop_missing,
    "poses mixed": poses_mixed,
    "two alone": two_alone,
    "one of two": one_of_two,
}
