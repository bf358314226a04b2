"""The paper's ablations (RelationBooth, Tables 4 to 8): `python -m training.miniature.tables --output_dir DIR`.

Local tokens off, undistilled, distilled, from a smaller tower, more and fewer, added and projected (Tables 4, 5, 7
and 8), by adapters trained alike; keypoint matching loss off, weaker, stronger, gated, as released, and a learned
relation embedding (Tables 4 and 6), by RelationLoRAs. Towers are trained first; the judges are the shipped ones unless
`--judges` names others. Held-out characters, the same cases and seeds in every row, 95 % intervals, paired differences.
All that is finished is kept: a killed run goes on.
"""

import argparse
import json
from dataclasses import replace
from pathlib import Path

import torch

from relationbooth_pipeline import miniature
from relationbooth_pipeline.miniature.judges import MiniatureJudges
from relationbooth_pipeline.relation_files import whole_file

from .evaluate import table_text
from .measure.adapter_table import PLAN, adapter_table, adapter_variants, cost_text
from .measure.lora_table import relation_lora_table
from .stages.towers import prepare_towers
from .train import default_device, mixed_precision
from .world.splits import known_poses

OVERLAPPING = ("kissing", "hugging", "back_to_back")  # where objects are confused, if anywhere
UNSEEN = ("shaking_hands", "dancing")  # by the adapter; the second by the base, too


def local_token_tables(model, judges, output_dir, given):
    towers = prepare_towers(Path(model) / "relation_adapter" / "image_encoder", output_dir / "towers")
    poses, autocast = given.poses or OVERLAPPING, mixed_precision("bf16", given.device)
    plan = replace(PLAN, device=given.device)
    return adapter_table(
        model, judges, output_dir / "adapters", adapter_variants(towers), poses, given.count, autocast, given.seed, plan
    )


def relation_lora_tables(model, judges, output_dir, given):
    seeds = range(given.training_seeds)
    return relation_lora_table(
        model,
        judges,
        output_dir / "relation_loras",
        given.poses or UNSEEN,
        seeds,
        given.count,
        given.seed,
        device=given.device,
    )


TABLES = {"local_tokens": local_token_tables, "relation_loras": relation_lora_tables}


def main(arguments=None):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", help="pipeline folder; default: the embedded miniature")
    parser.add_argument("--output_dir", required=True, help="towers, adapters, RelationLoRAs and tables go there")
    parser.add_argument("--judges", help="folder of trained judges; default: the shipped ones")
    parser.add_argument("--tables", nargs="+", choices=tuple(TABLES), default=list(TABLES))
    parser.add_argument("--poses", nargs="+", choices=known_poses(), help="default: each table's own")
    parser.add_argument("--count", type=int, default=40, help="generations of each pose and row")
    parser.add_argument("--training_seeds", type=int, default=1, help="RelationLoRAs of each row and pose")
    parser.add_argument("--seed", type=int, default=0, help="of the cases")
    parser.add_argument("--device", default=default_device(), help="default: a GPU where there is one")
    parser.add_argument("--threads", type=int, default=1)
    given = parser.parse_args(arguments)
    torch.set_num_threads(given.threads)
    output_dir, model = Path(given.output_dir), Path(given.model or miniature.path())
    judges = MiniatureJudges.load(given.judges)
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
