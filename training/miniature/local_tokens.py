"""Who reads an adapter's local tokens: `python -m training.miniature.local_tokens`.

The same cases of two characters are drawn with their local tokens, with those of the other character, and without any;
image tokens stay each one's own. Nothing is trained: `tables --tables local_tokens` compares adapters that are.
"""

import argparse
import json
from dataclasses import replace
from pathlib import Path

import torch

from relationbooth_pipeline import RelationBoothPipeline, miniature
from relationbooth_pipeline.miniature.judges import MiniatureJudges
from relationbooth_pipeline.relation_files import whole_file

from .ablations.adapter_table import grouped, with_local_tokens_exchanged
from .evaluate import table_text
from .measure.cases import RENDERS, compared, draw_cases, draw_pictures, judge, renders
from .stages.training_loop import default_device
from .tables import PAIRS
from .world.poses import RELATIONS
from .world.splits import known_poses

WITH = "with local tokens"
ROWS = {
    WITH: None,
    "the two characters' exchanged": with_local_tokens_exchanged,
    "without": lambda encoded: replace(encoded, local_tokens=None),
}


def who_reads_local_tokens(pipeline, judges, poses, count, seed=0):
    """`compared` with `WITH`: `ROWS` and renders of the same cases, by pose and by the groups of `grouped`.

    Args:
        pipeline: with an adapter that has local tokens. judges: `MiniatureJudges`. poses: relations of two.
        count, seed: cases of each pose, and what they depend on.
    """
    cases = {pose: draw_cases(pose, count, seed) for pose in poses}
    drawn = {pose: judge(judges, cases[pose], renders(cases[pose])) for pose in poses}
    rows = {RENDERS: drawn}
    for name, change in ROWS.items():
        rows[name] = {
            pose: judge(judges, cases[pose], draw_pictures(pipeline, cases[pose], "species", True, change=change))
            for pose in poses
        }
    return compared({name: grouped(found, cases, drawn) for name, found in rows.items()}, WITH)


def main(arguments=None):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", help="pipeline folder; default: the embedded miniature")
    parser.add_argument("--judges", help="folder of trained judges; default: the shipped ones")
    parser.add_argument("--poses", nargs="+", choices=known_poses(RELATIONS), default=list(known_poses(PAIRS)))
    parser.add_argument("--count", type=int, default=43, help="cases of each pose")
    parser.add_argument("--seed", type=int, default=0, help="of the cases")
    parser.add_argument("--output", type=Path, help="a JSON file of the whole table")
    parser.add_argument("--threads", type=int, default=1)
    given = parser.parse_args(arguments)
    if given.count < 1:
        parser.error(f"`--count` must be at least 1, got {given.count}.")
    if given.output is not None and not given.output.absolute().parent.is_dir():
        parser.error(f"`--output` must lie in a folder that exists, got {str(given.output)!r}.")
    torch.set_num_threads(given.threads)
    pipeline = RelationBoothPipeline.from_pretrained(given.model or miniature.path()).to(default_device())
    if pipeline.local_image_encoder is None:
        parser.error(f"`--model` must hold an adapter with local tokens, got {str(given.model)!r}.")
    pipeline.set_progress_bar_config(disable=True)
    judges = MiniatureJudges.load(given.judges)
    table = who_reads_local_tokens(pipeline, judges, given.poses, given.count, given.seed)
    table = {"judges": judges.accuracy, **table}
    print(table_text(table))
    if given.output is not None:
        text = json.dumps(table, indent=2, ensure_ascii=False) + "\n"
        with whole_file(given.output) as path:
            path.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
