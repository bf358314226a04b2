"""Scenes of the world as plain pictures, without captions: what self-distillation of the vision tower reads."""

import argparse
import random
from pathlib import Path

from PIL import Image

from .poses import ACTIONS, RELATIONS
from .rendering import BACKGROUNDS, Scene, render
from .splits import held_out_characters, poses_of_kinds, training_character

SCENE_SIZE = 256  # pixels
PAIR_SHARE = 0.7  # of scenes with two characters: there regions differ most


def draw_scene(
    rng: random.Random,
    held_out: bool = False,
    of=None,
    size: int = SCENE_SIZE,
    annotate: bool = False,
    small: bool = False,
) -> Scene:
    """A random Scene of kinds (a) and (b).

    Args:
        held_out: characters that no stage has trained on. of: RELATIONS or ACTIONS; None draws one of them.
        annotate: with masks, boxes and keypoints. small: see `render`.
    """
    kind = of or (RELATIONS if rng.random() < PAIR_SHARE else ACTIONS)
    count = 2 if kind is RELATIONS else 1
    if held_out:
        characters = rng.sample(held_out_characters(), count)
    else:
        characters = [training_character(rng, 0.3) for _ in range(count)]
    pose, background = rng.choice(poses_of_kinds("ab", kind)), rng.choice(tuple(BACKGROUNDS))
    return render(characters, pose, background, rng, size=size, annotate=annotate, small=small)


def write_scenes(folder: Path, count: int, seed: int = 0) -> None:
    """`count` PNG files; the same arguments always give the same ones."""
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(count):
        scene = draw_scene(random.Random(f"scene {seed} {number}"))
        Image.fromarray(scene.image).save(folder / f"{number:06d}.png")


def main(arguments=None):
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--output_dir", type=Path, required=True)
    parser.add_argument("--count", type=int, default=3000)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args(arguments)
    write_scenes(given.output_dir, given.count, given.seed)


if __name__ == "__main__":
    main()
