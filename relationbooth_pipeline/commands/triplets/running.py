"""What the engine's commands share: stages run under a bar, faults told one by one, the export told in words."""

import contextlib
import errno
import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from ..terminal import hide_bars

if TYPE_CHECKING:
    from ...parallel import Share
    from ...triplets.annotation import ExportOptions, Thresholds
    from ...triplets.annotators import Choice
    from ...triplets.engine import WorkFolder


def check_new_folder(output: Path) -> None:
    """Raise a ValueError unless triplets can be written to `output`; before anything is done for them."""
    if output.exists() and (not output.is_dir() or any(output.iterdir())):
        raise ValueError(f"`output`: `{output}` exists and is no empty folder. Choose a new one.")
    above = next(folder for folder in output.absolute().parents if folder.exists())
    if not above.is_dir() or not os.access(above, os.W_OK):
        raise ValueError(f"`output`: the folder `{above}` is not writable. Choose another.")


@contextlib.contextmanager
def told_when_full(path: Path) -> Iterator[None]:
    """A disk that takes no more, or takes nothing there, is told; what is there stays, and nothing is half-written."""
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, getattr(errno, "EDQUOT", errno.ENOSPC)):
            remedy = "Make room, then start the same command again: it goes on where it stopped."
        elif error.errno in (errno.EROFS, errno.EACCES, errno.EPERM, errno.ENOTDIR) and _is_near(error.filename, path):
            remedy = "Choose a folder that you may write to."
        else:
            raise  # also what libraries raise when a model is not there
        raise ValueError(f"`{path}` could not be written ({error.strerror}). {remedy}") from error


def _is_near(file: object, path: Path) -> bool:
    """Whether an error is about `path`, what is in it, or a temporary file beside it; else it is a model's."""
    return file is not None and Path(str(file)).absolute().is_relative_to(path.absolute().parent)


@contextlib.contextmanager
def told_one_by_one(what: str) -> Iterator[None]:
    """An error of several lines is listed, a line each; then how many they were."""
    try:
        yield
    except ValueError as error:
        faults = str(error).split("\n")
        if len(faults) == 1:
            raise
        for fault in faults:
            typer.echo(fault, err=True)
        raise ValueError(f"{what}: {len(faults)} faults, listed above. Mend them, then run it again.") from error


def run_stages(
    work: "WorkFolder", choices: "dict[str, Choice | None]", thresholds: "Thresholds", share: "Share", until: str
) -> None:
    """The stages find … filter under a bar, then what the filters found, a line for each candidate of this share."""
    from ...triplets.annotation import annotate

    hide_bars()
    tell_keypoints(choices)
    columns = (TextColumn("{task.description:<10}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True)) as progress:
        tasks: dict[str, int] = {}

        def told(stage: str, done: int, count: int) -> None:
            task = tasks.setdefault(stage, progress.add_task(stage, total=count) if stage not in tasks else 0)
            progress.update(task, completed=done)

        with told_when_full(work.root):
            annotate(work, choices, thresholds, share, "filter" if until == "export" else until, told)
    tell_filtered(work, share, until)


def tell_filtered(work: "WorkFolder", share: "Share", until: str) -> None:
    """What the filters found, a line for each candidate of a share; else how far the stages are."""
    from ...triplets.annotation import STAGES

    if until not in ("filter", "export"):
        typer.echo(f"{work.root}: done up to {until}, of {', '.join(STAGES)}.")
        return
    for candidate in share.part(work.candidates()):
        record = work.record("filter", candidate.id)
        typer.echo(f"{candidate.id}: {'accepted' if record['accepted'] else 'refused'}")
        for reason in record["reasons"]:
            threshold = "" if reason["threshold"] is None else f" (threshold {reason['threshold']:g})"
            typer.echo(f"  {reason['rule']}: {reason['sentence']}{threshold}")


def tell_keypoints(choices: "dict[str, Choice | None]") -> None:
    """Say what does not act without keypoints."""
    if choices["keypoints"] is None:
        typer.echo("keypoints: none are looked for; all are unseen, and the keypoint matching loss will not act.")


def export_folder(work: "WorkFolder", output: Path, options: "ExportOptions") -> None:
    """Write the triplets, and say what was skipped, and what of the review does not fit any more."""
    from ...triplets.annotation import export, review_notes

    with told_one_by_one(f"`{work.root}`"), told_when_full(output):
        for note in review_notes(work):
            typer.echo(note)
        facts = export(work, output, options)
    unseen = facts.exported - facts.reviewed
    if unseen:
        typer.echo(f"--accept_all: the review is skipped; nobody has looked at {unseen} of {facts.exported} triplets.")
    typer.echo(f"{output}: {facts.exported} triplets of {facts.candidates} candidates")
