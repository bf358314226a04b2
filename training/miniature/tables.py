"""The paper's ablations (RelationBooth, Tables 4 to 8): `python -m training.miniature.tables --output_dir DIR`.

local_tokens: off, undistilled, distilled, from a smaller tower, more and fewer, added, projected, and the two
characters' exchanged (Tables 4, 5, 7 and 8), by adapters trained alike. relation_loras: keypoint matching loss off,
weaker, stronger, gated, as released, and a learned relation embedding (Tables 4 and 6). keypoint_loss: it, and the
denoising error at keypoints, as shares of the gradient's norm. weights: what a relation costs in likeness, drawn at
several weights. triplets, steps: what to collect, and how long to train.

Towers are trained first; the judges are the shipped ones unless `--judges` names others. Held-out characters, the same
cases and seeds in every row, 95 % intervals, paired differences. All that is finished is kept: a killed run goes on.
"""

import argparse
import json
from dataclasses import replace
from pathlib import Path

import torch

from relationbooth_pipeline import miniature
from relationbooth_pipeline.miniature.judges import MiniatureJudges
from relationbooth_pipeline.relation_files import whole_file

from ..common.made_for import PIPELINE, made_for, weights_digest
from .ablations.adapter_table import BATCH, PLAN, SCENES, adapter_table, adapter_variants, cost_text
from .ablations.lora_table import relation_lora_table
from .evaluate import table_text
from .stages.towers import SMALL_PLAN, prepare_towers
from .stages.training_loop import default_device, mixed_precision
from .train import TOY, TOY_STEPS
from .world.poses import RELATIONS
from .world.splits import known_poses, poses_of_kinds

# From those whose boxes share half of their area to those that stand apart; edition 1 knows no wrestling.
PAIRS = ("hugging", "wrestling", "back_to_back", "kissing", "holding_hands", "high_fiving", "shaking_hands")
# Known to the base and overlooked by the adapter (edition 1 knows no horse), and new to both.
DECIDING = ("riding_horse" if "riding_horse" in known_poses() else "shaking_hands", "dancing")
POSES = {  # of each table of RelationLoRAs
    **dict.fromkeys(("relation_loras", "keypoint_loss", "triplets", "steps"), DECIDING),
    "weights": ("shaking_hands", "jumping", *poses_of_kinds("c")),
}


def local_token_tables(model, judges, output_dir, given):
    plan = replace(PLAN, max_train_steps=given.max_train_steps or PLAN.max_train_steps, device=given.device)
    sizes = {"batch": given.train_batch_size or BATCH, "scenes": given.scenes or SCENES}
    towers = {"mixed_precision": given.mixed_precision}
    if given.toy:
        plan, sizes = replace(plan, max_train_steps=TOY_STEPS), TOY["adapter"]
        towers |= {"plan": replace(SMALL_PLAN, max_train_steps=TOY_STEPS), **TOY["local_encoder"]}
    towers = prepare_towers(Path(model) / "relation_adapter", output_dir / "towers", **towers)
    poses, autocast = given.poses or known_poses(PAIRS), mixed_precision(given.mixed_precision, given.device)
    variants, folder = adapter_variants(towers), output_dir / "adapters"
    return adapter_table(model, judges, folder, variants, poses, given.count, autocast, given.seed, plan, **sizes)


def relation_lora_tables(name):
    """The table `name` of `lora_rows`, as a function like `local_token_tables`."""

    def table(model, judges, output_dir, given):
        seeds, poses = range(given.training_seeds), given.poses or POSES[name]
        folder, settings = output_dir / "relation_loras", TOY["relation_loras"] if given.toy else {}
        return relation_lora_table(
            model, judges, folder, poses, seeds, given.count, given.seed, name, device=given.device, **settings
        )

    return table


TABLES = {"local_tokens": local_token_tables, **{name: relation_lora_tables(name) for name in POSES}}


def main(arguments=None):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", help="pipeline folder; default: the embedded miniature")
    parser.add_argument("--output_dir", required=True, help="towers, adapters, RelationLoRAs and tables go there")
    parser.add_argument("--judges", help="folder of trained judges; default: the shipped ones")
    parser.add_argument("--tables", nargs="+", choices=tuple(TABLES), default=list(TABLES))
    parser.add_argument("--poses", nargs="+", choices=known_poses(), help="default: each table's own")
    parser.add_argument("--toy", action="store_true", help="a rehearsal: two steps of everything; give few poses, too")
    parser.add_argument("--count", type=int, default=40, help="generations of each pose and row")
    parser.add_argument("--training_seeds", type=int, default=1, help="RelationLoRAs of each row and pose")
    parser.add_argument("--seed", type=int, default=0, help="of the cases")
    for name, default in (("max_train_steps", PLAN.max_train_steps), ("train_batch_size", BATCH), ("scenes", SCENES)):
        parser.add_argument(f"--{name}", type=int, help=f"of each adapter of local_tokens; default: {default}")
    parser.add_argument("--device", default=default_device(), help="default: a GPU where there is one")
    parser.add_argument(
        "--mixed_precision", choices=("no", "bf16"), help="of the adapters' training; default: the faster one, measured"
    )
    parser.add_argument("--threads", type=int, default=1)
    given = parser.parse_args(arguments)
    for name in ("count", "training_seeds"):
        if getattr(given, name) < 1:
            parser.error(f"`--{name}` must be at least 1, got {getattr(given, name)}.")
    if "local_tokens" in given.tables and (alone := [pose for pose in given.poses or () if pose not in RELATIONS]):
        parser.error(f"`--poses` of the table local_tokens must be relations of two, got {', '.join(alone)}.")
    for name in ("max_train_steps", "train_batch_size", "scenes"):
        value = getattr(given, name)
        if value is not None and value < 1:
            parser.error(f"`--{name}` must be at least 1, got {value}.")
        if value is not None and (given.toy or "local_tokens" not in given.tables):
            parser.error(f"`--{name}` is for the table local_tokens, and `--toy` has its own.")
    torch.set_num_threads(given.threads)
    output_dir, model = Path(given.output_dir), Path(given.model or miniature.path())
    judges = MiniatureJudges.load(given.judges)
    made_for(output_dir, model=weights_digest(model, PIPELINE), judges=judges.checkpoint, rehearsal=given.toy)
    for name in given.tables:
        table = {"judges": judges.accuracy, **TABLES[name](model, judges, output_dir, given)}
        text = json.dumps(table, indent=2, ensure_ascii=False) + "\n"
        with whole_file(output_dir / f"{name}.json") as path:
            path.write_text(text, encoding="utf-8")
        print(f"\n## {name}\n\n{table_text(table)}")
        if "cost" in table:
            print(cost_text(table["cost"]))


if __name__ == "__main__":
    main()
