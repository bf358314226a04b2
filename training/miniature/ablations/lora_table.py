"""The tables of RelationLoRAs (RelationBooth, Tables 4 and 6, and what a user asks beside), on shared cases.

All that is finished is kept, each row's verdicts as soon as they are there: a killed run goes on where it stopped.
"""

import re
from pathlib import Path

from relationbooth_pipeline import RelationBoothPipeline

from ..measure.cases import adapter_folder, compared, draw_cases, draw_pictures, judge, mean_over_seeds, stored
from ..stages.relation_loras import train_one, training_arguments
from ..subjects.relation_embedding import (
    load_relation_embedding,
    train_relation_embedding,
    unload_relation_embedding,
    with_relation_word,
)
from .gradient_share import keypoint_weight
from .lora_rows import ADAPTER, EMBEDDING, ROWS, TABLES


def relation_lora_table(
    model, judges, output_dir, poses, seeds, count, case_seed=0, table="relation_loras", rows=None, device="cpu",
    **settings,
):  # fmt: skip
    """Train what each row needs, draw and judge the same cases for all rows, and compare them with one of them.

    Args:
        model: pipeline folder with a `relation_adapter` in it. judges: `MiniatureJudges`.
        output_dir: for this model, these judges and settings alone: what is finished there is not made again; all
            tables may share it.
        poses: names. seeds: training seeds; a case's figures are means over them.
        count, case_seed: cases of each pose, and what they depend on.
        table: of `TABLES`. rows: of the table's; None: all. device: for drawing; trainings find their own.
        settings: options of every training, also instead of a row's own; known to `train_relation_embedding` too.
    Returns:
        `compared`.
    Raises:
        ValueError: an unknown row, or no seed.
    """
    known, reference = TABLES[table]
    rows = tuple(known) if rows is None else rows
    if unknown := [row for row in rows if row not in known]:
        raise ValueError(f"`rows` must be of {', '.join(map(repr, known))}, got {unknown}.")
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

                def compute(row=row, pose=pose, seed=seed, cases=cases):
                    trained = train_row(row, model, output_dir, pose, seed, **settings)
                    return judge(judges, cases, draw_row(row, pipe, cases, trained))

                verdicts.append(stored(folder / f"verdicts_{case_seed}_{count}.json", compute))
            judged[row][pose] = mean_over_seeds(verdicts)
    return compared(judged, reference)


def row_folder(output_dir, row, pose, seed):
    """Where a row's training and verdicts for a pose and training seed lie."""
    return Path(output_dir) / re.sub(r"\W+", "_", row).strip("_") / f"{pose}_{seed}"


def train_row(row, model, output_dir, pose, seed, **settings):
    """The row's file, trained unless it is finished; None for the adapter alone."""
    if row == ADAPTER:
        return None
    name = ROWS[row].drawn_with or row
    said, folder = ROWS[name], row_folder(output_dir, name, pose, seed)
    if name == EMBEDDING:
        return train_relation_embedding(model, folder, pose, seed, **settings)
    # Named, as in the runs that are there: one that goes on keeps its arguments.
    options = {"relation_adapter": adapter_folder(model), **said.training, **settings}
    if said.triplets is not None:
        options["triplets"] = said.triplets
    if said.keypoint_share is not None:
        arguments = training_arguments(model, folder, pose, seed, **options)
        what = (said.training["keypoint_loss"], said.training.get("kml_max_timestep", "all"), pose, seed)
        norms = Path(output_dir) / "norms" / ("_".join(map(str, what)) + ".json")  # the same for every share
        options["kml_weight"] = keypoint_weight(arguments, said.keypoint_share, norms)
    return train_one(model, folder, pose, seed, **options)


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
    pipe.load_lora_weights(str(trained.parent), adapter_name="relation")
    pipe.set_adapters("relation", ROWS[row].weight)
    pictures = draw_pictures(pipe, cases, "species", True)
    pipe.unload_lora_weights()
    return pictures
