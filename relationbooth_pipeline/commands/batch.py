"""`relationbooth generate --from jobs.jsonl`: many pictures on one loaded pipeline."""

from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from .terminal import denoising_progress, hide_bars, warn

if TYPE_CHECKING:
    from ..generation.settings import GenerationSettings


def draw_batch(file: Path, common: "GenerationSettings") -> None:
    """Draw the jobs of `file` that have no picture yet; tell how many, and end with 1 when some failed.

    Raises:
        ValueError: a line is wrong; nothing is drawn then.
    """
    from ..generation.jobs import draw_jobs, read_jobs

    jobs = read_jobs(file, common)
    results = file.with_name(f"{file.stem}.results.jsonl")
    hide_bars()
    found: Counter = Counter()
    with denoising_progress() as show:

        def on_step(number: int, done: int, steps: int) -> None:
            show(number * steps + done, len(jobs) * steps)

        for told in draw_jobs(jobs, results, on_step):
            found[told["status"]] += 1
            if told["status"] == "failed":
                warn(f"line {told['line']}: {told['error']}")
    counts = ", ".join(f"{found[status]} {status}" for status in ("drawn", "kept", "failed"))
    typer.echo(f"{results}: {counts}")
    if found["failed"]:
        raise typer.Exit(1)
