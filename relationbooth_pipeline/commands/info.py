"""`relationbooth info`: what a file or folder holds, as JSON."""

import json
import sys
from pathlib import Path
from typing import Annotated

import typer

from .errors import clean_errors


@clean_errors
def info(
    path: Annotated[
        str,
        typer.Argument(
            metavar="FILE",
            help="Generated PNG or sheet, LoRA or checkpoint file; folder of an adapter, pipeline, LoRAs or triplets.",
        ),
    ],
) -> None:
    """Tell what a picture, a LoRA, an adapter, a pipeline or a triplet folder holds, as JSON."""
    from ..generation.checks import refuse_url
    from .summary import summary

    refuse_url("FILE", path)
    # Where the terminal or pipe cannot take every character, JSON has escapes of its own: the output stays JSON.
    any_text = (sys.stdout.encoding or "ascii").lower().replace("-", "").startswith("utf")
    typer.echo(json.dumps(summary(Path(path)), indent=2, ensure_ascii=not any_text))
