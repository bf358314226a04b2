"""A run's output folder: opened, checked against what it holds, its arguments noted."""

import json
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from relationbooth_pipeline.relation_files import whole_file

from .checkpoints import Checkpoints, check_writable
from .options import LoopOptions

logger = logging.getLogger(__name__)
RUN_FILE = "training_arguments.json"


def check_length(loop: LoopOptions, start: int, steps: int) -> None:
    """Raise a ValueError if the checkpoint of step `start` lies beyond the run's `steps`."""
    if start > steps:
        name = "num_train_epochs" if loop.max_train_steps is None else "max_train_steps"
        raise ValueError(
            f"`checkpoint-{start}` is beyond `--{name}` {getattr(loop, name)}, which ends after step {steps}. Name an "
            "earlier checkpoint, or give more."
        )


def open_run(
    loop: LoopOptions, told: Mapping[str, Any], facts: Mapping[str, Any], free_on_resume: set[str], result: str
) -> int:
    """Check the output folder and note the run's arguments in it; the step to start from.

    Args:
        told: all arguments of the run, of JSON's types.
        facts: what else decides the order of the data, by name, of JSON's types; one that a folder's older notes lack
            is not compared.
        free_on_resume: names of arguments that a resumed run may give differently.
        result: the file in the output folder that tells of a finished run.
    Raises:
        ValueError: the folder is not writable, holds another run, one with other arguments or facts, or a result whose
            checkpoints are gone; or the checkpoint lies beyond `--max_train_steps`.
    """
    check_writable(loop.output_dir)
    folder, checkpoints = Path(loop.output_dir), Checkpoints(loop.output_dir, loop.checkpoints_total_limit)
    noted, mine = folder / RUN_FILE, {k: v for k, v in told.items() if k not in free_on_resume}
    step, has_checkpoints = 0, bool(checkpoints.steps())
    if not has_checkpoints and (folder / result).exists():  # nothing tells how it was made: a run would only replace it
        raise ValueError(
            f"`--output_dir` `{folder}` holds a finished run without checkpoints. Choose another folder, or remove its "
            f"result (`{result}`)."
        )
    if loop.resume_from_checkpoint:
        step = checkpoints.resume(loop.resume_from_checkpoint) or 0
        if not step:
            logger.info(f"no checkpoint in `{folder}` to go on from: the run begins")
    elif has_checkpoints:
        raise ValueError(
            f"`--output_dir` `{folder}` holds another run. Go on with it (`--resume_from_checkpoint latest`), or "
            "choose another folder."
        )
    if step and noted.exists():
        before = json.loads(noted.read_text(encoding="utf-8"))
        other = [f"--{k} {before.get(k)} → {v}" for k, v in mine.items() if before.get(k) != v]
        other += [f"{k} {before[k]} → {v}" for k, v in facts.items() if before.get(k, v) != v]
        if other:
            raise ValueError(
                f"the run in `{folder}` was begun with other arguments or data: {', '.join(other)}. Give them as "
                "before, or choose another `--output_dir`."
            )
    if loop.max_train_steps is not None:
        check_length(loop, step, loop.max_train_steps)
    with whole_file(noted) as temporary:
        temporary.write_text(json.dumps({**mine, **facts}, indent=1, ensure_ascii=False), encoding="utf-8")
    return step
