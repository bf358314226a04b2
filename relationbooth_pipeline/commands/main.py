"""The command `relationbooth`: gathers the commands, each from its file."""

from typing import Annotated

try:
    import rich  # noqa: F401
    import typer
except ImportError as error:
    raise SystemExit(f"the command line needs typer and rich ({error}): pip install 'relationbooth[cli]'") from error

from .. import __version__
from .app import app as page
from .convert import convert
from .demo import demo
from .evaluate import app as evaluate
from .features import features
from .generate import generate
from .info import info
from .terminal import Commands
from .train import app as train
from .triplets import app as triplets

HELP = "Own characters that do something together: draw pictures, look into files, prepare training data."
app = typer.Typer(
    cls=Commands, no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False, rich_markup_mode=None
)


def _tell_version(asked: bool) -> None:
    if asked:
        typer.echo(f"relationbooth {__version__}")
        raise typer.Exit()


@app.callback(help=HELP)
def relationbooth(
    version: Annotated[
        bool, typer.Option("--version", callback=_tell_version, is_eager=True, help="Tell the version and exit.")
    ] = False,
) -> None:
    """Takes what stands before the command's name."""


for command in (generate, demo, info, features, convert):
    app.command()(command)
app.command("app")(page)
app.add_typer(triplets, name="triplets")
app.add_typer(train, name="train")
app.add_typer(evaluate, name="evaluate")


if __name__ == "__main__":
    app(prog_name="relationbooth")
