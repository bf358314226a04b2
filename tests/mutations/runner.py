"""Apply edits to copies of the repository, one to each, and see whether their tests fail."""

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

from .edit import Edit

ROOT = Path(__file__).parents[2]
CAUGHT, SURVIVED = "caught", "SURVIVED"
_HEAVY = ("weights", "run_log", "images", "__pycache__", "*.egg-info", ".*")  # no test of the list reads them


def verdicts(edits: Sequence[Edit], root: Path = ROOT) -> Iterator[tuple[Edit, str]]:
    """(edit, verdict) of each: `CAUGHT`, `SURVIVED`, or why it could not be tried. The checkout is never edited.

    As many are tried at once as there are cores, each in a copy of its own.
    """
    with ThreadPoolExecutor(os.cpu_count()) as executor:
        yield from zip(edits, executor.map(partial(_verdict, root=root), edits))


def _verdict(edit: Edit, root: Path) -> str:
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder) / "copy"
        shutil.copytree(root, copy, ignore=shutil.ignore_patterns(*_HEAVY))
        try:
            edited = edit.applied_to(copy)
        except ValueError as error:
            return f"does not apply: {error}"
        (copy / edit.file).write_text(edited, encoding="utf-8")
        return _outcome(edit.test, copy)


def _outcome(test: str, copy: Path) -> str:
    # No bytecode: an edit within the clock's grain and of the same length would be overlooked.
    path = os.pathsep.join(filter(None, [str(copy), os.environ.get("PYTHONPATH")]))
    settings = {"OMP_NUM_THREADS": "1", "PYTHONPATH": path, "PYTHONDONTWRITEBYTECODE": "1"}
    command = [sys.executable, "-m", "pytest", "-x", "-p", "no:cacheprovider", "--no-header", "--tb=short", test]
    run = subprocess.run(command, cwd=copy, env={**os.environ, **settings}, capture_output=True, text=True)
    if run.returncode == 1:  # pytest's code for tests that failed; 0 is none, the others are no answer
        return CAUGHT
    return SURVIVED if run.returncode == 0 else f"could not run {test}:\n{run.stdout[-2000:]}{run.stderr[-500:]}"
