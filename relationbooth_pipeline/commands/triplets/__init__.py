"""`relationbooth triplets`: training data of a relation made from pictures, looked at, and brought into our layout."""

import os
from pathlib import Path
from typing import Annotated

import typer

from ..errors import clean_errors
from .annotate import annotate, convert_keypoints, export
from .make import make
from .review import review

app = typer.Typer(no_args_is_help=True, help=__doc__)
METADATA = "metadata.jsonl"  # `triplets.METADATA`, whose import brings torch
Folder = Annotated[Path, typer.Argument(help=f"Folder with {METADATA}, or in the released layout (prompts.json).")]
Predicate = Annotated[
    str | None,
    typer.Option(
        help="The relation's words where a sample names none. Default (released layout only): by the sentence."
    ),
]


@app.command()
@clean_errors
def check(
    folder: Folder,
    sheet: Annotated[Path, typer.Option(help="PNG with every sample's boxes, masks and keypoints.")] = Path(
        "triplets.png"
    ),
    fix: Annotated[
        bool, typer.Option(help=f"Put clearly swapped keypoints in order and write {METADATA} into the folder.")
    ] = False,
    predicate: Predicate = None,
) -> None:
    """Read and validate every sample, draw them on a sheet, and find keypoints listed in another object's place.

    Exit status 1 when anything is wrong.
    """
    from ...generation.outputs import check_apart, check_output
    from ...sheets.png_settings import save_png
    from ...sheets.triplets import MOST_TRIPLETS, triplet_sheet
    from ...triplets import (
        TripletError,
        check_assignments,
        is_released_layout,
        read_triplets,
        refuse_swapped,
        repair_assignments,
        repair_metadata,
    )

    check_output("--sheet", sheet)
    if fix and is_released_layout(folder):
        raise ValueError(
            f"`--fix` never writes into the released layout. `relationbooth triplets import {folder} NEW_FOLDER --fix` "
            "puts keypoints in order in a copy."
        )
    try:
        triplets, faulty, faults = read_triplets(folder, predicate), [], []
    except TripletError as error:
        triplets, faulty, faults = error.readable, error.faulty, error.faults
    named = [file for triplet in (*triplets, *faulty) for file in triplet.files]
    check_apart([("--sheet", sheet)], inputs=filter(os.path.isfile, named))
    assignments = check_assignments(triplets)
    lines = verdicts = [verdict for verdict, _ in assignments]
    if fix and not faults and "swapped" in verdicts:
        repair_metadata(folder, [order for _, order in assignments])
        triplets = repair_assignments(triplets)
        lines = [f"{verdict}, now put in order" if verdict == "swapped" else verdict for verdict in verdicts]
    for triplet, line in zip(triplets, lines):
        typer.echo(
            f"{triplet.name}: {triplet.prompt!r} [{triplet.predicate}], {len(triplet.phrases)} objects, "
            f"keypoints {line}"
        )
    if triplets:
        save_png(triplet_sheet(triplets, lines, MOST_TRIPLETS), sheet)
        typer.echo(f"{sheet}: {min(len(triplets), MOST_TRIPLETS)} of {len(triplets)} triplets, swapped ones first")
    if faults:
        _refuse(folder, faults)
    if is_released_layout(folder):
        remedy = f"`relationbooth triplets import {folder} NEW_FOLDER --fix` puts them in order in a copy."
    else:
        remedy = f"`--fix` puts them in order and writes `{folder / METADATA}`."
    refuse_swapped(triplets, f"Look at `{sheet}`; {remedy}")


def _refuse(folder: Path, faults: list[str]) -> None:
    for fault in faults:  # a line each
        typer.echo(fault, err=True)
    raise ValueError(f"`{folder}` has {len(faults)} faults, listed above. Mend them, then check again.")


@app.command("import")
@clean_errors
def import_folder(
    source: Folder,
    folder: Annotated[Path, typer.Argument(help="New folder in our layout, an image folder for `datasets`.")],
    fix: Annotated[bool, typer.Option(help="Put clearly swapped keypoints in order.")] = False,
    predicate: Predicate = None,
) -> None:
    """Copy triplets into a new folder in our layout."""
    from ...triplets import TripletError, import_triplets, read_triplets, refuse_swapped, repair_assignments

    try:
        triplets = read_triplets(source, predicate)
    except TripletError as error:
        _refuse(source, error.faults)
    if fix:
        triplets = repair_assignments(triplets)
    refuse_swapped(triplets, "Pass `--fix`.")
    import_triplets(triplets, folder)
    typer.echo(f"{folder}: {len(triplets)} triplets")


for name, command in (
    ("make", make),
    ("annotate", annotate),
    ("export", export),
    ("convert-keypoints", convert_keypoints),
    ("review", review),
):
    app.command(name)(command)
