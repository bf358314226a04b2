"""What the commands show: their own words alone, on any terminal or pipe, and a bar while denoising."""

import contextlib
import logging
import os
import sys
import warnings
from collections.abc import Callable, Iterator
from typing import Any

from rich.console import Console
from rich.markup import escape
from typer.core import TyperGroup

PACKAGE = __name__.partition(".")[0]


class Commands(TyperGroup):
    """The group of all commands; first of all it lets every text through to any terminal."""

    def main(self, *args: Any, **kwargs: Any) -> Any:
        """As in click."""
        accept_any_text()
        return super().main(*args, **kwargs)


def accept_any_text() -> None:
    """Let stdout and stderr write `\\u041a` for what their encoding (cp1252, ASCII) lacks, instead of failing.

    A picture that is drawn already must not end in a traceback because its name cannot be printed.
    """
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):  # not when something replaced the streams
            stream.reconfigure(errors="backslashreplace")


@contextlib.contextmanager
def own_words_only() -> Iterator[None]:
    """Silence the libraries; warnings that this package logs are shown as the commands' own.

    The variables hold for libraries that are not imported yet, and leave alone what the user set; `hide_bars` is for
    those that are.
    """
    for name in ("TRANSFORMERS_VERBOSITY", "DIFFUSERS_VERBOSITY"):
        os.environ.setdefault(name, "error")
    logger, handler = logging.getLogger(PACKAGE), _Warnings(logging.WARNING)
    propagate, logger.propagate = logger.propagate, False
    logger.addHandler(handler)
    try:
        with warnings.catch_warnings():
            if not sys.warnoptions:
                warnings.simplefilter("ignore")
            yield
    finally:
        logger.removeHandler(handler)
        logger.propagate = propagate


def hide_bars() -> None:
    """No bars of diffusers and transformers while they load; for commands that import them anyway."""
    from diffusers.utils import logging as diffusers_logging
    from transformers.utils import logging as transformers_logging

    for library in (diffusers_logging, transformers_logging):
        library.disable_progress_bar()


class _Warnings(logging.Handler):
    """Shows each warning once."""

    def __init__(self, level: int) -> None:
        super().__init__(level)
        self._shown: set[str] = set()

    def emit(self, record: logging.LogRecord) -> None:
        message = record.getMessage()
        if message not in self._shown:
            self._shown.add(message)
            warn(message)


def warn(message: str) -> None:
    """One yellow line on stderr."""
    # soft_wrap: one line, whatever the terminal's width
    Console(stderr=True).print(f"[yellow]Warning:[/] {escape(message)}", soft_wrap=True, highlight=False)


@contextlib.contextmanager
def denoising_progress() -> Iterator[Callable[[int, int], None]]:
    """A progress bar on stderr; yields the callable that moves it to (steps done, steps in all)."""
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("denoising"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True)) as progress:
        task = progress.add_task("denoising", total=None)
        yield lambda done, total: progress.update(task, completed=done, total=total)
