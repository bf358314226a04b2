"""`relationbooth train`: the training programs, started through accelerate with all their own options."""

import importlib.util
import subprocess
import sys
from pathlib import Path

import typer

from .errors import clean_errors

PROGRAMS = {
    "lora": ("train_relation_lora_sdxl.py", "Train a RelationLoRA: one relation, from a handful of triplets."),
    "adapter": ("train_relation_adapter_sdxl.py", "Train a relation adapter, from thousands of triplets."),
    "encoder": ("train_local_image_encoder.py", "Train a dense CLIP for local tokens, from pictures alone."),
}
# Beside this package: as a wheel installs them, and as a clone of the repository has them.
FOLDERS = ("relationbooth_training", "training")
# The program answers to every option itself, --help too.
PASS_ON = {"ignore_unknown_options": True, "allow_extra_args": True, "help_option_names": []}

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    help="Train a RelationLoRA, an adapter or a local image encoder. All options go to the program (--help lists "
    "them); several GPUs and precision are accelerate's business: `accelerate config`.",
)


def program_file(name: str) -> Path:
    """The program `name` of `PROGRAMS`.

    Raises:
        ValueError: the training programs or accelerate are not installed.
    """
    beside = Path(__file__).resolve().parents[2]
    found = [beside / folder / PROGRAMS[name][0] for folder in FOLDERS]
    file = next((path for path in found if path.is_file()), None)
    if file is None or importlib.util.find_spec("accelerate") is None:
        raise ValueError("training needs the package's extra: pip install 'relationbooth[training]'")
    return file


def start(name: str, options: list[str]) -> int:
    """Run a program to its end in processes of their own; its exit status."""
    # --quiet: without a traceback of the launcher's own after the program's message.
    launcher = [] if "--help" in options else ["-m", "accelerate.commands.launch", "--quiet"]
    status = subprocess.run([sys.executable, *launcher, str(program_file(name)), *options]).returncode
    return status if status >= 0 else 128 - status  # as a shell tells of a signal


def _register(name: str) -> None:
    @app.command(name, help=PROGRAMS[name][1], context_settings=PASS_ON)
    @clean_errors
    def command(context: typer.Context) -> None:
        raise typer.Exit(start(name, context.args))


for _name in PROGRAMS:
    _register(_name)
