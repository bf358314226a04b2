"""`relationbooth triplets`: look at a training folder before training on it; bring the released layout into ours."""

from pathlib import Path
from typing import Annotated

import typer

from .errors import clean_errors

app = typer.Typer(no_args_is_help=True, help=__doc__)
METADATA = "metadata.jsonl"  # `triplets.METADATA`, whose import brings torch
Folder = Annotated[Path, typer.Argument(help=f"Folder with {METADATA}, or in the released layout (prompts.json).")]


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
) -> None:
    """Read and validate every sample, draw them on a sheet, and find keypoints listed in another object's place.

    Exit status 1 when anything is wrong.
    """
    from ..generation.outputs import check_output
    from ..sheets.triplets import triplet_sheet
    from ..triplets import check_assignments, read_triplets, repair_assignments, write_metadata

    check_output("--sheet", sheet)
    triplets = read_triplets(folder)
    verdicts = [verdict for verdict, _ in check_assignments(triplets)]
    swapped = [triplet.name for triplet, verdict in zip(triplets, verdicts) if verdict == "swapped"]
    if fix and swapped:
        write_metadata(folder, repair_assignments(triplets))
        verdicts = [f"{verdict}, now put in order" if verdict == "swapped" else verdict for verdict in verdicts]
    for triplet, verdict in zip(triplets, verdicts):
        typer.echo(f"{triplet.name}: {triplet.prompt!r}, {len(triplet.phrases)} objects, keypoints {verdict}")
    triplet_sheet(triplets, verdicts).save(sheet)
    typer.echo(str(sheet))
    if swapped and not fix:
        raise ValueError(
            f"the keypoints of {', '.join(swapped)} are listed in another object's place. Look at `{sheet}`; `--fix` "
            f"puts them in order and writes `{folder / METADATA}`."
        )


@app.command("import")
@clean_errors
def import_folder(
    source: Folder,
    folder: Annotated[Path, typer.Argument(help="New folder in our layout, an image folder for `datasets`.")],
    fix: Annotated[bool, typer.Option(help="Put clearly swapped keypoints in order.")] = False,
) -> None:
    """Copy triplets into a new folder in our layout."""
    from ..triplets import check_assignments, import_triplets, read_triplets, repair_assignments

    triplets = read_triplets(source)
    swapped = [t.name for t, (verdict, _) in zip(triplets, check_assignments(triplets)) if verdict == "swapped"]
    if swapped and not fix:
        raise ValueError(f"the keypoints of {', '.join(swapped)} are listed in another object's place. Pass `--fix`.")
    import_triplets(repair_assignments(triplets), folder)
    typer.echo(f"{folder}: {len(triplets)} triplets")
