"""Writes triplets of the world in the project's own format, a `datasets` image folder with `metadata.jsonl`."""

import argparse
import csv
import itertools
import json
import random
from pathlib import Path

import numpy as np
from PIL import Image

from relationbooth_pipeline.relation_files import whole_file
from relationbooth_pipeline.triplets.photos import COLUMNS, TABLE

from .captions import make_caption
from .identities import Character
from .poses import ACTIONS, RELATIONS
from .proportions import PROPORTIONS
from .rendering import BACKGROUNDS, PROMPT_SIZE, render
from .splits import held_out_characters, portrait_poses, training_character


def draw_triplet(pose, rng: random.Random, held_out=False, detail="species"):
    """One target scene and the image prompts of its characters, each alone, in another pose and scene.

    Returns:
        (target Scene, list of image prompt Scenes, Caption).
    """
    count = 2 if pose in RELATIONS else 1
    if held_out:
        characters: list[Character] = rng.sample(held_out_characters(), count)
    else:
        characters = [training_character(rng) for _ in range(count)]
    background = rng.choice(tuple(BACKGROUNDS))
    # At the native size: the base knows SDXL's size and crop conditioning for that alone.
    target = render(characters, pose, background, rng)
    actions = portrait_poses(avoid=pose)
    others = [name for name in BACKGROUNDS if name != background]
    shown = {"size": PROMPT_SIZE, "figure_scale": PROPORTIONS.portrait}
    prompts = [render([character], rng.choice(actions), rng.choice(others), rng, **shown) for character in characters]
    return target, prompts, make_caption(characters, pose, background, detail)


def write_triplets(folder, pose, count, seed=0, held_out=False, detail="species"):
    """Write `count` triplets of `pose` to `folder`; the same arguments always give the same files."""
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    lines = []
    for number in range(count):
        target, prompts, caption = draw_triplet(pose, random.Random(seed * 1_000_003 + number), held_out, detail)
        name = f"{pose}_{number:04d}"
        Image.fromarray(target.image).save(folder / f"{name}.png")
        for index, (mask, prompt) in enumerate(zip(target.masks, prompts)):
            Image.fromarray(mask.astype(np.uint8) * 255).save(folder / f"{name}_mask_{index}.png")
            Image.fromarray(prompt.image).save(folder / f"{name}_prompt_{index}.png")
        lines.append(
            {
                "file_name": f"{name}.png",
                "image_prompts": [f"{name}_prompt_{index}.png" for index in range(len(prompts))],
                "prompt": caption.text,
                "phrases": list(caption.phrases),
                "predicate": caption.predicate,
                "boxes": _plain(target.boxes),
                "masks": [f"{name}_mask_{index}.png" for index in range(len(prompts))],
                "keypoints": _plain(target.keypoints),
                "image_prompt_keypoints": _plain(np.concatenate([prompt.keypoints for prompt in prompts])),
                "keypoint_order": "AP-10K",
            }
        )
    text = "".join(json.dumps(line) + "\n" for line in lines)
    with whole_file(folder / "metadata.jsonl") as path:
        path.write_text(text, encoding="utf-8")


def write_pictures(folder, pose, count, seed=0, held_out=False):
    """`count` targets and their objects as a person has photos: no annotations, and the words in `pictures.csv`.

    The pictures are those of `write_triplets`, without pairs of one species: no phrase would tell those apart.
    """
    folder, rows = Path(folder), [COLUMNS]
    folder.mkdir(parents=True, exist_ok=True)
    for number in itertools.count():
        if len(rows) > count:
            break
        target, prompts, caption = draw_triplet(pose, random.Random(seed * 1_000_003 + number), held_out)
        if len(set(caption.phrases)) < len(caption.phrases):
            continue
        name = f"{pose}_{number:04d}"
        names = [f"{name}.png", *(f"{name}_object_{index}.png" for index in range(len(prompts)))]
        for file, scene in zip(names, (target, *prompts)):
            Image.fromarray(scene.image).save(folder / file)
        rows.append((names[0], ";".join(names[1:]), ";".join(caption.phrases), caption.predicate, caption.text))
    with whole_file(folder / TABLE) as path, path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows(rows)


def _plain(array):
    """Nested lists of six decimals: a tenth of a thousandth of a pixel."""
    return np.round(array.astype(float), 6).tolist()


def main(arguments=None):
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("pose", choices=(*RELATIONS, *ACTIONS))
    parser.add_argument("--output_dir", required=True)
    parser.add_argument("--count", type=int, default=5, help="a RelationLoRA takes 4 to 24")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--held_out", action="store_true", help="draw characters that no stage has trained on")
    parser.add_argument("--plain", action="store_true", help="pictures alone, for `relationbooth triplets annotate`")
    given = parser.parse_args(arguments)
    write = write_pictures if given.plain else write_triplets
    write(given.output_dir, given.pose, given.count, given.seed, held_out=given.held_out)


if __name__ == "__main__":
    main()
