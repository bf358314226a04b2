"""A run's output folder: opened, checked against what it holds, its arguments noted."""

import json
from pathlib import Path

from relationbooth_pipeline.relation_files import whole_file

from .checkpoints import Checkpoints, check_writable

RUN_FILE = "training_arguments.json"


def open_run(args, free_on_resume: set[str], result: str) -> int:
    """Check the output folder and note the arguments in it; the step to start from.

    Args:
        free_on_resume: names of arguments that a resumed run may give differently.
        result: the file in the output folder that tells of a finished run.
    Raises:
        ValueError: the folder is not writable, holds another run, or one with other arguments.
    """
    check_writable(args.output_dir)
    folder, checkpoints = Path(args.output_dir), Checkpoints(args.output_dir, args.checkpoints_total_limit)
    noted, mine = folder / RUN_FILE, {k: v for k, v in vars(args).items() if k not in free_on_resume}
    step = 0
    if args.resume_from_checkpoint:
        step = checkpoints.resume(args.resume_from_checkpoint) or 0
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
        temporary.write_text(json.dumps(mine, indent=1), encoding="utf-8")
    return step
