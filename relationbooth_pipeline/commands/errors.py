"""How the commands end when something the user gave is wrong."""

import functools

import typer
from rich.console import Console
from rich.markup import escape


def clean_errors(command):
    """Our ValueErrors print as one red line and exit 1; anything else is a bug and keeps its traceback."""

    @functools.wraps(command)
    def run(*args, **kwargs):
        try:
            return command(*args, **kwargs)
        except ValueError as error:
            # soft_wrap: one line, whatever the terminal's width
            message = escape(" ".join(str(error).split()))
            Console(stderr=True).print(f"[bold red]Error:[/] [red]{message}[/]", soft_wrap=True, highlight=False)
            raise typer.Exit(1) from error

    return run
