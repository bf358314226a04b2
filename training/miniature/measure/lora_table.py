"""The table of RelationLoRA training variants (RelationBooth, Tables 4 and 6), on shared cases.

All that is finished is kept, each row's verdicts as soon as they are there: a killed run goes on where it stopped.
"""

import re
from pathlib import Path

from relationbooth_pipeline import RelationBoothPipeline

from ..stages.relation_loras import train_one
from .cases import compared, draw_cases, draw_pictures, judge, mean_over_seeds, stored
from .relation_embedding import (
    load_relation_embedding,
    train_relation_embedding,
    unload_relation_embedding,
    with_relation_word,
)

DEFAULT = "λ = 1e-3, all timesteps (default)"
VARIANTS = {  # row: options of `train_one`
    DEFAULT: {},
    "without KML": {"kml_weight": 0},
    "λ = 1e-4": {"kml_weight": 1e-4},
    "λ = 1e-2": {"kml_weight": 1e-2},
    "λ = 0.1": {"kml_weight": 0.1},
    "λ = 1": {"kml_weight": 1.0},
    "λ = 1e-3, t ≤ 333": {"kml_max_timestep": 333},
    "with predicate attention loss": {"predicate_attention_weight": 1e-3},
    "released code": {
        "kml_weight": 0.1,
        "kml_max_timestep": 333,
        "predicate_attention_weight": 1e-3,
        "local_image_encoder": "none",  # the released training ran without local tokens
    },
}
EMBEDDING = "learned relation embedding R*"
ADAPTER = "adapter alone"
ROWS = (*VARIANTS, EMBEDDING, ADAPTER)


def relation_lora_table(
    model, judges, output_dir, poses, seeds, count, case_seed=0, rows=ROWS, device="cpu", **settings
):
    """Train what each row needs, draw and judge the same cases for all rows, and compare them with the default.

    Args:
        model: pipeline folder with a `relation_adapter` in it. judges: `MiniatureJudges`.
        output_dir: for this model, these judges and settings alone: what is finished there is not made again.
        poses: names. seeds: training seeds; a case's figures are means over them.
        count, case_seed: cases of each pose, and what they depend on.
        rows: of `ROWS`. device: for drawing; trainings find their own.
        settings: options of every training beside the row's own, known to `train_relation_embedding` too.
    Returns:
        `compared`.
    Raises:
        ValueError: an unknown row, or no seed.
    """
    if unknown := [row for row in rows if row not in ROWS]:
        raise ValueError(f"`rows` must be of {', '.join(map(repr, ROWS))}, got {unknown}.")
    if not seeds:
        raise ValueError("`seeds` must hold at least one training seed, got none.")
    pipe = RelationBoothPipeline.from_pretrained(model).to(device)
    pipe.set_progress_bar_config(disable=True)
    pipe.load_relation_adapter(adapter_folder(model))
    judged = {row: {} for row in rows}
    for pose in poses:
        cases = draw_cases(pose, count, case_seed)
        for row in rows:
            verdicts = []
            for seed in seeds[:1] if row == ADAPTER else seeds:  # the adapter alone has nothing to train
                folder = row_folder(output_dir, row, pose, seed)

                def compute(row=row, folder=folder, pose=pose, seed=seed, cases=cases):
                    trained = train_row(row, model, folder, pose, seed, **settings)
                    return judge(judges, cases, draw_row(row, pipe, cases, trained))

                verdicts.append(stored(folder / f"verdicts_{case_seed}_{count}.json", compute))
            judged[row][pose] = mean_over_seeds(verdicts)
    return compared(judged, DEFAULT)


def adapter_folder(model):
    return Path(model) / "relation_adapter"


def row_folder(output_dir, row, pose, seed):
    """Where a row's training and verdicts for a pose and training seed lie."""
    return Path(output_dir) / re.sub(r"\W+", "_", row).strip("_") / f"{pose}_{seed}"


def train_row(row, model, folder, pose, seed, **settings):
    """The row's file, trained unless it is finished; None for the adapter alone."""
    if row == ADAPTER:
        return None
    if row == EMBEDDING:
        return train_relation_embedding(model, folder, pose, seed, **settings)
    # Named, because the script heeds `local_image_encoder` only where it loads the adapter itself.
    return train_one(model, folder, pose, seed, relation_adapter=adapter_folder(model), **VARIANTS[row], **settings)


def draw_row(row, pipe, cases, trained):
    """Pictures (cases, S, S, 3) with image prompts, by what `train_row` returned; `pipe` is as before afterwards."""
    if row == ADAPTER:
        return draw_pictures(pipe, cases, "species", True)
    if row == EMBEDDING:
        load_relation_embedding(pipe, trained)
        said = [{**case, "species": with_relation_word(case["species"])} for case in cases]
        pictures = draw_pictures(pipe, said, "species", True)
        unload_relation_embedding(pipe)
        return pictures
    pipe.load_lora_weights(str(trained.parent))
    pictures = draw_pictures(pipe, cases, "species", True)
    pipe.unload_lora_weights()
    return pictures
