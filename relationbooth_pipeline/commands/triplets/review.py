"""`relationbooth triplets review`: look at every candidate in the browser and decide."""

import webbrowser
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ..errors import clean_errors

if TYPE_CHECKING:
    from ...triplets.review import Desk


@clean_errors
def review(
    work: Annotated[Path, typer.Argument(help="Work folder of `annotate` or `make`, e.g. my_triplets_work.")],
    port: Annotated[int, typer.Option(min=0, max=65535, help="Of 127.0.0.1. Default: any that is free.")] = 0,
    browser: Annotated[
        bool, typer.Option("--browser/--no-browser", help="Open the page in the default browser.")
    ] = True,
) -> None:
    """Show every candidate with boxes, masks, keypoints and figures; accept, reject, mend. Ctrl-C ends it."""
    from ...triplets.engine import WorkFolder
    from ...triplets.review import Desk, review_server

    if not work.is_dir():
        raise ValueError(f"there is no work folder `{work}`. `relationbooth triplets annotate` or `make` writes one.")
    desk = Desk(WorkFolder(work))
    with review_server(desk, port) as server:
        address = f"http://127.0.0.1:{server.server_address[1]}/"
        typer.echo(f"{address} shows {len(desk.candidates)} candidates; Ctrl-C ends it")
        if browser:
            webbrowser.open(address)
        try:
            server.serve_forever()
        except KeyboardInterrupt:
            typer.echo("")
    told(desk, work)


def told(desk: "Desk", work: Path) -> None:
    """What the review came to, and the next step."""
    counts = desk.counts()
    typer.echo(f"{counts['accept']} accepted, {counts['reject']} rejected, {counts['undecided']} undecided")
    if counts["stale"]:
        typer.echo(
            f"{counts['stale']} accepted ones have other boxes now: run `relationbooth triplets annotate` or `make` "
            "again as before, which cuts masks and finds keypoints for those alone, then export."
        )
    elif counts["accept"]:
        typer.echo(f"`relationbooth triplets export {work} NEW_FOLDER` writes the accepted ones.")
