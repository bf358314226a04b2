"""Checkpoints that survive a power cut: written aside, checked, renamed; the old ones go last.

Shared by every training script. What a checkpoint holds is the caller's business; this file keeps it whole.
"""

import json
import logging
import os
import re
import shutil
import tempfile
from pathlib import Path

from accelerate import Accelerator

from relationbooth_pipeline.digests import sha256
from relationbooth_pipeline.relation_files import flush

logger = logging.getLogger(__name__)
MANIFEST = "manifest.json"
_NAME = re.compile(r"checkpoint-(\d+)")


class CheckpointError(ValueError):
    """A checkpoint is missing or damaged; the message says what to do."""


class Checkpoints:
    """The folders `checkpoint-<step>` of a run.

    Args:
        output_dir: the run's folder.
        total_limit: how many to keep, at least 1; None keeps all.
    """

    def __init__(self, output_dir: str | Path, total_limit: int | None = None):
        if total_limit is not None and total_limit < 1:
            raise ValueError(
                f"`--checkpoints_total_limit` must be at least 1, got {total_limit}. Leave it out to keep all."
            )
        self.output_dir, self.total_limit = Path(output_dir), total_limit

    def steps(self) -> list[int]:
        """Steps of the finished checkpoints, oldest first; unfinished ones have another name."""
        if not self.output_dir.is_dir():
            return []
        matches = [_NAME.fullmatch(path.name) for path in self.output_dir.iterdir() if path.is_dir()]
        return sorted(int(match[1]) for match in matches if match)

    def path(self, step: int) -> Path:
        return self.output_dir / f"checkpoint-{step}"

    def unfinished(self, step: int) -> Path:
        return self.output_dir / f".checkpoint-{step}"

    def begin(self, step: int) -> Path:
        """Fresh folder to write step `step` into; leftovers of killed saves are removed."""
        self.output_dir.mkdir(parents=True, exist_ok=True)
        for leftover in self.output_dir.glob(".checkpoint-*"):
            shutil.rmtree(leftover)
        folder = self.unfinished(step)
        folder.mkdir()
        return folder

    def finish(self, step: int) -> Path:
        """Seal what was written since `begin`: checksums, flush to disk, rename; the oldest beyond the limit go last.

        Several processes may have written; call it on one, after all are done.
        """
        folder, final = self.unfinished(step), self.path(step)
        files = sorted(path for path in folder.rglob("*") if path.is_file())
        sums = {path.relative_to(folder).as_posix(): sha256(path) for path in files}
        (folder / MANIFEST).write_text(json.dumps(sums, indent=1), encoding="utf-8")
        for path in [*files, folder / MANIFEST, folder]:
            flush(path)
        if final.exists():  # the step was saved before the run was cut off, and is made again
            shutil.rmtree(final)
        os.replace(folder, final)
        flush(self.output_dir)
        if self.total_limit is not None:
            written = [kept for kept in self.steps() if kept <= step]  # `resume` found all later ones damaged
            for old in written[: -self.total_limit]:
                shutil.rmtree(self.path(old))
        return final

    def faults(self, step: int) -> list[str]:
        """What is wrong with a checkpoint: files missing or changed since they were written."""
        folder = self.path(step)
        try:
            sums = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            return [f"{MANIFEST} cannot be read ({error})"]
        faults = [f"{name} is missing" for name in sums if not (folder / name).is_file()]
        present = [name for name in sums if (folder / name).is_file()]
        return faults + [f"{name} is damaged" for name in present if sha256(folder / name) != sums[name]]

    def resume(self, which: str) -> int | None:
        """Step to go on from.

        Args:
            which: "latest", the newest intact one (damaged newer ones are reported and passed over), or a folder's
                name or path, which must be intact and the last in `output_dir`.
        Returns:
            None when "latest" finds no checkpoint at all.
        Raises:
            CheckpointError: the named one is missing, damaged or followed by later ones, or every one is damaged.
        """
        steps = self.steps()
        if which != "latest":
            path = Path(which)
            is_here = path.parent == Path() or path.parent.resolve() == self.output_dir.resolve()
            match = _NAME.fullmatch(path.name) if is_here else None
            step = int(match[1]) if match else None
            if step not in steps:
                known = ", ".join(f"checkpoint-{s}" for s in steps) or "none"
                raise CheckpointError(
                    f"`--resume_from_checkpoint` must be 'latest' or one of {known} in `{self.output_dir}`, got "
                    f"{which!r}."
                )
            if faults := self.faults(step):
                raise CheckpointError(f"`{self.path(step)}` is damaged: {'; '.join(faults)}. Use an earlier one.")
            if later := [f"`{self.path(other)}`" for other in steps if other > step]:
                raise CheckpointError(
                    f"`--resume_from_checkpoint` {which!r} is followed by later checkpoints, which would mix with the "
                    f"new ones. Move or delete {', '.join(later)}."
                )
            return step
        for step in reversed(steps):
            faults = self.faults(step)
            if not faults:
                return step
            logger.warning(f"`{self.path(step)}` is damaged ({'; '.join(faults)}): the one before it is used.")
        if steps:
            raise CheckpointError(f"every checkpoint in `{self.output_dir}` is damaged. Start again in another folder.")
        return None


def save_state(accelerator: Accelerator, checkpoints: Checkpoints, step: int) -> None:
    """A checkpoint of everything that `accelerator` has prepared or registered; call it on every process.

    When writing fails, a full disk for one, older checkpoints are untouched and the error is raised.
    """
    if accelerator.is_main_process:
        checkpoints.begin(step)
    accelerator.wait_for_everyone()
    accelerator.save_state(str(checkpoints.unfinished(step)))
    accelerator.wait_for_everyone()
    if accelerator.is_main_process:
        checkpoints.finish(step)
    accelerator.wait_for_everyone()


def move_into(folder: Path, fresh: Path, last: str) -> None:
    """Everything in `fresh` into `folder`, flushed; the file `last`, without which nothing loads, goes first and comes
    last, so a reader finds a whole result or none."""
    (folder / last).unlink(missing_ok=True)
    for path in [*fresh.rglob("*"), fresh]:
        flush(path)
    for path in sorted(fresh.iterdir(), key=lambda path: (path.name == last, path.name)):
        target = folder / path.name
        if target.is_dir():
            shutil.rmtree(target)
        os.replace(path, target)
    flush(folder)


def check_writable(folder: str | Path, argument: str = "--output_dir") -> None:
    """Raise a ValueError unless files can be made in `folder` (made if missing), which `argument` named."""
    try:
        Path(folder).mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=folder, prefix=".write-test") as probe:  # every process has its own
            probe.write(b"x" * 4096)
    except OSError as error:
        raise ValueError(
            f"`{argument}` must be a writable folder, got `{folder}` ({error}). Choose another."
        ) from error
