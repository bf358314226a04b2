"""How well the annotator reads plain pictures: `python -m training.miniature.measure.annotations`.

Fresh triplets of held-out characters, targets and image prompts; each object is asked for by its phrase. What is found
is compared with what was drawn.
"""

import argparse
import json
import random
from pathlib import Path

import numpy as np
from PIL import Image

from relationbooth_pipeline.miniature.annotator import MiniatureAnnotator, overlap

from ..world.captions import noun
from ..world.identities import SPECIES, Character
from ..world.rendering import Scene
from ..world.splits import known_poses
from ..world.triplets import draw_triplet

SEED = 90_000_049


def figures_of_object(
    annotator: MiniatureAnnotator, scene: Scene, number: int, phrase: str, other: str | None
) -> dict[str, float]:
    """What is found of one object of a scene against what was drawn.

    Args:
        other: phrase of the scene's other character; of a picture of one, a phrase that is not there.
    Returns:
        "found": one box and no more. "box" and "mask": intersection over union. "keypoint": mean distance of visible
        keypoints in units of the box's sides; "largest" of them. "visible": share of keypoints whose visibility is
        told rightly. "exchanged": the found box fits the other character better. "refused": the other phrase does not
        name this one.
    """
    image, right = Image.fromarray(scene.image), tuple(map(float, scene.boxes[number]))
    found = annotator.find(image, phrase)
    figures = {"found": float(len(found) == 1)}
    if not found:
        return {**figures, "box": 0.0, "mask": 0.0}
    box = found[0][0]
    mask, points = annotator.segment(image, box, phrase), annotator.keypoints(image, box, phrase)
    figures["box"] = overlap(box, right)
    figures["mask"] = (mask & scene.masks[number]).sum() / max((mask | scene.masks[number]).sum(), 1)
    drawn, sides = scene.keypoints[number], np.array([right[2] - right[0], right[3] - right[1]])
    seen = drawn[:, 2] > 0
    distances = np.linalg.norm((points[:, :2] - drawn[:, :2]) / sides, axis=1)[seen]
    figures |= {"keypoint": distances.mean(), "largest": distances.max()}
    figures["visible"] = ((points[:, 2] > 0.5) == seen).mean()
    others = [overlap(box, tuple(map(float, b))) for index, b in enumerate(scene.boxes) if index != number]
    figures["exchanged"] = float(any(fit > figures["box"] for fit in others))
    if other is not None:
        figures["refused"] = float(all(overlap(place, right) < 0.5 for place, _ in annotator.find(image, other)))
    return {name: float(value) for name, value in figures.items()}


def absent_phrase(characters: list[Character], rng: random.Random) -> str:
    """A species that is not in the picture."""
    return rng.choice([species for species in SPECIES if all(species != c.species for c in characters)])


def measure(annotator: MiniatureAnnotator, count: int, detail: str) -> dict[str, dict[str, float]]:
    """{"targets" | "image prompts": mean figures} of `count` triplets of all poses.

    Args:
        detail: of the phrases, "species" or "full"; triplets whose two phrases are the same are drawn again, for then
            no phrase tells who is meant.
    """
    rows: dict[str, list[dict[str, float]]] = {"targets": [], "image prompts": []}
    number, drawn, poses = 0, 0, known_poses()
    while drawn < count:
        rng = random.Random(SEED + number)
        target, prompts, _ = draw_triplet(poses[number % len(poses)], rng, held_out=True)
        number += 1
        phrases = [noun(character, detail) for character in target.characters]
        if len(set(phrases)) < len(phrases):
            continue
        drawn += 1
        for index, (phrase, prompt) in enumerate(zip(phrases, prompts)):
            other = phrases[1 - index] if len(phrases) > 1 else absent_phrase(target.characters, rng)
            rows["targets"].append(figures_of_object(annotator, target, index, phrase, other))
            rows["image prompts"].append(figures_of_object(annotator, prompt, 0, phrase, other))
    return {name: _means(found) for name, found in rows.items()}


def _means(rows: list[dict[str, float]]) -> dict[str, float]:
    names = dict.fromkeys(name for row in rows for name in row)
    means = {name: float(np.mean([row[name] for row in rows if name in row])) for name in names}
    return {"objects": len(rows), **{name: round(value, 4) for name, value in means.items()}}


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--judges", type=Path, help="folder of trained networks; default: the shipped ones")
    parser.add_argument("--count", type=int, default=40, help="triplets")
    given = parser.parse_args(arguments)
    annotator = MiniatureAnnotator.load(given.judges)
    for detail in ("species", "full"):
        print(json.dumps({f"phrases: {detail}": measure(annotator, given.count, detail)}, indent=1))


if __name__ == "__main__":
    main()
