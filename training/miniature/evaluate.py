"""Measures the miniature with the judges: `python -m training.miniature.evaluate --output_dir DIR`.

Compared rows share held-out characters, boxes, captions and seeds, so their differences have paired intervals. The
judges are trained first, in minutes, if DIR/judges holds none.
"""

import argparse
import json
import random
from pathlib import Path

import numpy as np
import torch

from relationbooth_pipeline import RelationBoothPipeline, miniature

from .adapter import image_prompt
from .base import GUIDANCE
from .captions import make_caption
from .judges import Judges, in_boxes, keypoint_distance, train_judges
from .pictures import contact_sheet, to_pictures
from .poses import ACTIONS, RELATIONS
from .splits import held_out_characters, poses_of_kinds
from .training_loop import write_atomically
from .world import BACKGROUNDS, render

ATTRIBUTE_NAMES = ("species", "color", "marking", "accessory")
BOOTSTRAP = 2000  # resamples of the percentile intervals
ROWS = {  # name: (detail of the caption, with image prompts, with the RelationLoRA)
    "base, full captions": ("full", False, False),
    "base, species named": ("species", False, False),
    "RelationLoRA alone": ("species", False, True),
    "adapter": ("species", True, False),
    "adapter and RelationLoRA": ("species", True, True),
}
DIFFERENCES = (
    ("adapter", "base, species named"),
    ("adapter and RelationLoRA", "adapter"),
    ("adapter and RelationLoRA", "RelationLoRA alone"),
)


def draw_cases(pose, count, seed):
    """`count` cases of a pose: held-out characters, captions, boxes and keypoints of a render, image prompts, seed."""
    cases, unseen = [], held_out_characters()
    for number in range(count):
        rng = random.Random(f"{seed}/{pose}/{number}")  # a text seed does not depend on the interpreter
        characters = rng.sample(unseen, 2 if pose in RELATIONS else 1)
        background = rng.choice(tuple(BACKGROUNDS))
        layout = render(characters, pose, background, rng)
        cases.append(
            {
                "pose": pose,
                "characters": characters,
                "boxes": layout.boxes,
                "keypoints": layout.keypoints,
                "image_prompts": [image_prompt(character, rng) for character in characters],
                "full": make_caption(characters, pose, background, "full"),
                "species": make_caption(characters, pose, background, "species"),
                "seed": rng.randrange(2**31),
            }
        )
    return cases


@torch.no_grad()
def draw_pictures(pipeline, cases, detail, with_prompts, scale=1.0, batch=8, start_seed=0):
    """(cases, S, S, 3) uint8, drawn for captions of one detail, with or without image prompts."""
    pictures = []
    for start in range(0, len(cases), batch):
        part = cases[start : start + batch]
        arguments = {"generator": [torch.Generator().manual_seed(case["seed"] + start_seed) for case in part]}
        if with_prompts:
            arguments["image_prompts"] = [case["image_prompts"] for case in part]
            arguments["phrases"] = [list(case[detail].phrases) for case in part]
            arguments["boxes"] = [case["boxes"].tolist() for case in part]
            arguments["image_prompt_scale"] = scale
        output = pipeline([case[detail].text for case in part], output_type="pt", **GUIDANCE, **arguments).images
        pictures.append(to_pictures(output * 2 - 1))
    return np.concatenate(pictures)


def judge(judges, cases, pictures):
    """Per case: relation right, each attribute right for all characters, and their mean keypoint distance.

    "swapped" says that two characters that differ in species or colour each have the other's. Without image prompts
    nothing ties a character to its box; all rows are judged in the boxes of the render all the same.
    """
    rows = [(index, number) for index, case in enumerate(cases) for number in range(len(case["characters"]))]
    boxes = np.array([cases[index]["boxes"][number] for index, number in rows])
    names, points = judges.characters(pictures[[index for index, _ in rows]], boxes)
    expected = torch.tensor(np.array([cases[i]["keypoints"][n] for i, n in rows]), dtype=torch.float32)
    box = torch.tensor(boxes, dtype=torch.float32)
    distances = keypoint_distance(in_boxes(points, box), in_boxes(expected[..., :2], box), expected[..., 2] > 0)
    found = {row: {name: names[name][at] for name in ATTRIBUTE_NAMES} for at, row in enumerate(rows)}
    distance = dict(zip(rows, distances.tolist()))
    poses, results = judges.poses(pictures), []
    for index, case in enumerate(cases):
        characters = case["characters"]
        result = {"relation": float(poses[index] == case["pose"])}
        for name in ATTRIBUTE_NAMES:
            result[name] = float(all(found[index, n][name] == getattr(c, name) for n, c in enumerate(characters)))
        result["species and color"] = result["species"] * result["color"]
        result["swapped"] = float(_swapped(characters, [found[index, n] for n in range(len(characters))]))
        result["keypoint distance"] = sum(distance[index, n] for n in range(len(characters))) / len(characters)
        results.append(result)
    return results


def _swapped(characters, found):
    if len(characters) != 2:
        return False
    first, second = characters
    return any(
        getattr(first, name) != getattr(second, name)
        and found[0][name] == getattr(second, name)
        and found[1][name] == getattr(first, name)
        for name in ("species", "color")
    )


def interval(values, seed=0):
    """Mean and 95 % percentile bootstrap interval of per-case values, or of paired differences."""
    values = np.asarray(values, float)
    draws = np.random.default_rng(seed).integers(0, len(values), (BOOTSTRAP, len(values)))
    low, high = np.percentile(values[draws].mean(1), (2.5, 97.5))
    return {"mean": round(float(values.mean()), 4), "low": round(float(low), 4), "high": round(float(high), 4)}


def summarise(results, reference=None):
    """Intervals of results of the same cases, or of their differences from `reference`."""
    minus = reference or [dict.fromkeys(result, 0.0) for result in results]
    return {name: interval([a[name] - b[name] for a, b in zip(results, minus)]) for name in results[0]}


def evaluate(pipeline, judges, poses, count, seed=0, relation_loras=None, rows=tuple(ROWS), scale=1.0, sheet=None):
    """Figures of some rows of `ROWS` for some poses.

    Args:
        pipeline: with its adapter. judges: `Judges`.
        poses: names. count: cases of each.
        relation_loras: {pose: RelationLoRA folders, one for each training seed}; rows with it average over them, and
            leave out poses that have none.
        sheet: folder for one contact sheet a pose: the first cases of every row.
    Returns:
        JSON-ready: {"judges", "rows": {row: {"all" | pose: figures}}, "differences": {"a − b": {pose: figures}}}.
    """
    relation_loras, judged = relation_loras or {}, {}
    for pose in poses:
        cases, pictures = draw_cases(pose, count, seed), {}
        for row in rows:
            detail, with_prompts, with_lora = ROWS[row]
            if not with_lora:
                pictures[row] = [draw_pictures(pipeline, cases, detail, with_prompts, scale)]
                continue
            for folder in relation_loras.get(pose, ()):
                pipeline.load_lora_weights(str(folder))
                drawn = draw_pictures(pipeline, cases, detail, with_prompts, scale)
                pipeline.unload_lora_weights()
                pictures.setdefault(row, []).append(drawn)
        for row, sets in pictures.items():
            verdicts = [judge(judges, cases, drawn) for drawn in sets]
            mean = [{n: sum(v[i][n] for v in verdicts) / len(verdicts) for n in verdicts[0][i]} for i in range(count)]
            judged.setdefault(row, {})[pose] = mean
        if sheet is not None:
            draw_sheet(cases, pictures, Path(sheet) / f"{pose}.png")
    table = {"judges": judges.accuracy, "seed": seed, "count": count, "scale": scale, "rows": {}, "differences": {}}
    for row, by_pose in judged.items():
        flat = [result for results in by_pose.values() for result in results]
        table["rows"][row] = {"all": summarise(flat), **{pose: summarise(r) for pose, r in by_pose.items()}}
    for row, reference in DIFFERENCES:
        shared = [pose for pose in judged.get(row, ()) if pose in judged.get(reference, ())]
        if shared:
            table["differences"][f"{row} − {reference}"] = {
                pose: summarise(judged[row][pose], judged[reference][pose]) for pose in shared
            }
    return table


def draw_sheet(cases, pictures, path, shown=6):
    """First cases of a pose: image prompts, then every row of the table, one case a line."""
    panels, texts = [], []
    for index, case in enumerate(cases[:shown]):
        panels += case["image_prompts"]
        texts += [character.key.replace("/", " ") for character in case["characters"]]
        for row, sets in pictures.items():
            panels.append(sets[0][index])
            texts.append(f"{row}: {case[ROWS[row][0]].text}")
    path.parent.mkdir(parents=True, exist_ok=True)
    contact_sheet(panels, path, columns=len(panels) // min(shown, len(cases)), captions=texts)


def table_text(table, what=("relation", "species and color", "marking", "accessory", "swapped", "keypoint distance")):
    """The table as Markdown, for cards and the run log."""
    lines = ["| row | pose | " + " | ".join(what) + " |", "|---" * (len(what) + 2) + "|"]
    for kind in ("rows", "differences"):
        for row, by_pose in table[kind].items():
            for pose, figures in by_pose.items():
                cells = [f"{figures[n]['mean']:.3f} [{figures[n]['low']:.3f}, {figures[n]['high']:.3f}]" for n in what]
                lines.append(f"| {row} | {pose} | " + " | ".join(cells) + " |")
    told = ", ".join(f"{name} {value:.3f}" for name, value in table["judges"].items())
    return "\n".join(lines) + f"\n\nJudges on fresh renders of held-out characters: {told}.\n"


def main(arguments=None):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", help="pipeline folder; default: the embedded miniature")
    parser.add_argument("--output_dir", required=True, help="judges, table and sheets go there")
    parser.add_argument("--poses", nargs="*", choices=(*RELATIONS, *ACTIONS), help="default: all of kinds (a) and (b)")
    parser.add_argument("--rows", nargs="*", choices=tuple(ROWS), default=list(ROWS))
    parser.add_argument("--count", type=int, default=40, help="generations of each pose and row")
    parser.add_argument("--image_prompt_scale", type=float, default=1.0)
    parser.add_argument("--relation_loras", nargs="*", default=[], help="POSE=FOLDER; repeat a pose for each seed")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=1)
    given = parser.parse_args(arguments)
    torch.set_num_threads(given.threads)
    root, model = Path(given.output_dir), Path(given.model or miniature.path())
    loras = {}
    for text in given.relation_loras:
        pose, _, folder = text.partition("=")
        if pose not in (*RELATIONS, *ACTIONS) or not Path(folder).exists():
            parser.error(f"`--relation_loras` must be POSE=FOLDER with a pose of the world, got {text!r}.")
        loras.setdefault(pose, []).append(folder)
    if not (root / "judges" / "judges.pt").exists():
        train_judges(root / "judges")
    pipeline = RelationBoothPipeline.from_pretrained(model)
    pipeline.set_progress_bar_config(disable=True)
    pipeline.load_relation_adapter(model / "relation_adapter")
    poses = given.poses or poses_of_kinds("ab")
    judges = Judges(root / "judges" / "judges.pt")
    scale, sheets = given.image_prompt_scale, root / "sheets"
    table = evaluate(pipeline, judges, poses, given.count, given.seed, loras, given.rows, scale, sheets)
    text = json.dumps(table, indent=2) + "\n"
    write_atomically(root / "table.json", lambda path: path.write_text(text, encoding="utf-8"))
    print(table_text(table))


if __name__ == "__main__":
    main()
