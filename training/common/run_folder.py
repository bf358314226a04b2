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


def open_run(loop: LoopOptions, told: Mapping[str, Any], free_on_resume: set[str], result: str) -> int:
    """Check the output folder and note the run's arguments in it; the step to start from.

    Args:
        told: all arguments of the run, of JSON's types.
        free_on_resume: names of arguments that a resumed run may give differently.
        result: the file in the output folder that tells of a finished run.
    Raises:
        ValueError: the folder is not writable, holds another run, or one with other arguments.
    """
    check_writable(loop.output_dir)
    folder, checkpoints = Path(loop.output_dir), Checkpoints(loop.output_dir, loop.checkpoints_total_limit)
    noted, mine = folder / RUN_FILE, {k: v for k, v in told.items() if k not in free_on_resume}
    step = 0
    if loop.resume_from_checkpoint:
        step = checkpoints.resume(loop.resume_from_checkpoint) or 0
        if not step:
            logger.info(f"no checkpoint in `{folder}` to go on from: the run begins")
        if step and noted.exists():
            before = json.loads(noted.read_text(encoding="utf-8"))
            other = [f"--{k} {before.get(k)} → {v}" for k, v in mine.items() if before.get(k) != v]
            if other:
                raise ValueError(
                    f"`--resume_from_checkpoint` goes on with the run in `{folder}`, but these arguments differ: "
                    f"{', '.join(other)}. Give them as before, or choose another `--output_dir`."
                )
    elif checkpoints.steps() or (folder / result).exists():
        raise ValueError(
            f"`--output_dir` `{folder}` holds another run. Go on with it (`--resume_from_checkpoint latest`), or "
            "choose another folder."
        )
    with whole_file(noted) as temporary:
        temporary.write_text(json.dumps(mine, indent=1, ensure_ascii=False), encoding="utf-8")
    return step
