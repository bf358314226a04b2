"""Measures the miniature with the judges: `python -m training.miniature.evaluate --output_dir DIR`.

Compared rows share held-out characters, boxes, captions and seeds, so their differences have paired intervals. The
judges are those that ship with the package, unless `--judges` names a folder of others.
"""

import argparse
import json
from pathlib import Path

import torch

from relationbooth_pipeline import RelationBoothPipeline, miniature
from relationbooth_pipeline.miniature.judges import MiniatureJudges
from relationbooth_pipeline.relation_files import LORA_WEIGHT_NAME, whole_file

from .measure.cases import RENDERS, draw_cases, draw_pictures, judge, mean_over_seeds, renders, summarise
from .stages.training_loop import default_device
from .world.pictures import contact_sheet
from .world.splits import known_poses

ROWS = {  # name: (detail of the caption, with image prompts, with the RelationLoRA)
    RENDERS: ("species", True, False),
    "base, full captions": ("fine", False, False),
    "base, species named": ("species", False, False),
    "RelationLoRA alone": ("species", False, True),
    "adapter": ("species", True, False),
    "adapter and RelationLoRA": ("species", True, True),
}
TOLD = ("relation", "broken", "species and color", "marking", "accessory", "swapped", "keypoint distance")
TOLD_OF_FINE = ("coarse", "fine", "glyph", "pupils", "fine swapped")  # where the judges know fine attributes
DIFFERENCES = (
    ("adapter", "base, species named"),
    ("adapter and RelationLoRA", "adapter"),
    ("adapter and RelationLoRA", "RelationLoRA alone"),
)


def evaluate(
    pipeline,
    judges,
    poses,
    count,
    seed=0,
    relation_loras=None,
    rows=tuple(ROWS),
    scale=1.0,
    relation_lora_weight=1.0,
    sheet=None,
):
    """Figures of some rows of `ROWS` for some poses.

    Args:
        pipeline: with its adapter. judges: `MiniatureJudges`.
        poses: names. count: cases of each.
        relation_loras: {pose: RelationLoRA folders, one for each training seed}; rows with it average over them, and
            leave out poses that have none.
        scale: γ of the image prompts. relation_lora_weight: of `set_adapters`.
        sheet: folder for one contact sheet a pose: the first cases of every row.
    Returns:
        JSON-ready: {"judges", "rows": {row: {"all" | pose: figures}}, "differences": {"a − b": {pose: figures}}}.
    """
    relation_loras, judged = relation_loras or {}, {}
    for pose in poses:
        cases, pictures = draw_cases(pose, count, seed), {}
        for row in rows:
            if row == RENDERS:
                pictures[row] = [renders(cases)]
                continue
            detail, with_prompts, with_lora = ROWS[row]
            if not with_lora:
                pictures[row] = [draw_pictures(pipeline, cases, detail, with_prompts, scale)]
                continue
            for folder in relation_loras.get(pose, ()):
                pipeline.load_lora_weights(str(folder), adapter_name="relation")
                pipeline.set_adapters("relation", relation_lora_weight)
                drawn = draw_pictures(pipeline, cases, detail, with_prompts, scale)
                pipeline.unload_lora_weights()
                pictures.setdefault(row, []).append(drawn)
        for row, sets in pictures.items():
            verdicts = [judge(judges, cases, drawn, placed=ROWS[row][1]) for drawn in sets]
            judged.setdefault(row, {})[pose] = mean_over_seeds(verdicts)
        if sheet is not None:
            draw_sheet(cases, pictures, Path(sheet) / f"{pose}.png")
    settings = {"seed": seed, "count": count, "scale": scale, "relation_lora_weight": relation_lora_weight}
    table = {"judges": judges.accuracy, **settings, "rows": {}, "differences": {}}
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


def table_text(table):
    """The table as Markdown, for cards and the run log."""
    told = next(figures for by_pose in table["rows"].values() for figures in by_pose.values())
    what = [name for name in (*TOLD, *TOLD_OF_FINE) if name in told]
    lines = ["| row | pose | " + " | ".join(what) + " |", "|---" * (len(what) + 2) + "|"]
    for kind in ("rows", "differences"):
        for row, by_pose in table[kind].items():
            for pose, figures in by_pose.items():
                cells = [f"{figures[n]['mean']:.3f} [{figures[n]['low']:.3f}, {figures[n]['high']:.3f}]" for n in what]
                lines.append(f"| {row} | {pose} | " + " | ".join(cells) + " |")
    right = ", ".join(f"{name} {value:.3f}" for name, value in table["judges"].items() if ":" not in name)
    return "\n".join(lines) + f"\n\nJudges on fresh renders of held-out characters: {right}.\n"


def own_relation_loras(model):
    """{pose: [folder]} of the RelationLoRAs that lie in the pipeline folder `model`."""
    return {
        file.parent.name: [file.parent] for file in sorted((model / "relation_loras").glob(f"*/{LORA_WEIGHT_NAME}"))
    }


def main(arguments=None):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", help="pipeline folder; default: the embedded miniature")
    parser.add_argument("--output_dir", required=True, help="table and sheets go there")
    parser.add_argument("--judges", help="folder of trained judges; default: the shipped ones")
    parser.add_argument("--poses", nargs="*", choices=known_poses(), help="default: all")
    parser.add_argument("--rows", nargs="*", choices=tuple(ROWS), default=list(ROWS))
    parser.add_argument("--count", type=int, default=50, help="generations of each pose and row")
    parser.add_argument("--image_prompt_scale", type=float, default=1.0)
    parser.add_argument("--relation_lora_weight", type=float, default=1.0, help="below 1: a weaker RelationLoRA")
    parser.add_argument(
        "--relation_loras",
        nargs="*",
        default=[],
        help="POSE=FOLDER; repeat a pose for each seed; default: the model's own",
    )
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--device", default=default_device(), help="default: a GPU where there is one")
    parser.add_argument("--threads", type=int, default=1)
    given = parser.parse_args(arguments)
    if given.count < 1:
        parser.error(f"`--count` must be at least 1, got {given.count}.")
    torch.set_num_threads(given.threads)
    root, model = Path(given.output_dir), Path(given.model or miniature.path())
    loras = {} if given.relation_loras else own_relation_loras(model)
    for text in given.relation_loras:
        pose, _, folder = text.partition("=")
        if pose not in known_poses() or not Path(folder).exists():
            parser.error(f"`--relation_loras` must be POSE=FOLDER with a pose of the world, got {text!r}.")
        loras.setdefault(pose, []).append(folder)
    judges = MiniatureJudges.load(given.judges)
    pipeline = RelationBoothPipeline.from_pretrained(model).to(given.device)
    pipeline.set_progress_bar_config(disable=True)
    pipeline.load_relation_adapter(model / "relation_adapter")
    poses = given.poses or known_poses()
    table = evaluate(
        pipeline,
        judges,
        poses,
        given.count,
        given.seed,
        loras,
        given.rows,
        given.image_prompt_scale,
        given.relation_lora_weight,
        root / "sheets",
    )
    text = json.dumps(table, indent=2) + "\n"
    with whole_file(root / "table.json") as path:
        path.write_text(text, encoding="utf-8")
    print(table_text(table))


if __name__ == "__main__":
    main()
