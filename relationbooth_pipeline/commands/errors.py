"""How the commands end when something the user gave is wrong."""

import functools
from collections.abc import Callable
from typing import ParamSpec, TypeVar

import typer
from rich.console import Console
from rich.markup import escape

from .terminal import own_words_only

P, R = ParamSpec("P"), TypeVar("R")


def clean_errors(command: Callable[P, R]) -> Callable[P, R]:
    """Our ValueErrors print as one red line and exit 1; anything else is a bug and keeps its traceback.

    While the command runs, no library has a word (`own_words_only`).
    """

    @functools.wraps(command)
    def run(*args: P.args, **kwargs: P.kwargs) -> R:
        try:
            with own_words_only():
                return command(*args, **kwargs)
        except ValueError as error:
            # soft_wrap: one line, whatever the terminal's width
            message = escape(" ".join(str(error).split()))
            Console(stderr=True).print(f"[bold red]Error:[/] [red]{message}[/]", soft_wrap=True, highlight=False)
            raise typer.Exit(1) from error

    return run
