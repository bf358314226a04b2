"""What `triplets make` tells: the plan and its bound before anything is sent, then what is left and spent."""

from typing import TYPE_CHECKING, Any

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

if TYPE_CHECKING:
    from ...triplets.engine import WorkFolder
    from ...triplets.engine.make import Making
    from ...triplets.engine.tasks import Tally

SHOWN = 3  # sentences of each kind


def told_plan(making: "Making", folder: "WorkFolder") -> None:
    """Sentences, counts and the upper bound; nothing is written."""
    from ...triplets.engine.ledger import Ledger

    editor = making.same_generator
    typer.echo(f"{len(making.all)} candidates of {making.plan.relation!r} [{making.plan.predicate}]")
    for planned in making.all[:SHOWN]:
        typer.echo(f"  {planned.id}: {planned.prompt}")
        if "same" in making.stages:
            for index in range(len(planned.phrases)):
                typer.echo(f"    {making.plan.same_prompt(planned, index, editor.same_templates)}")
    images, paid = 0, 0
    for stage, (count, is_paid) in making.bound().items():
        drawer = making.generator if stage == "generate" else editor
        typer.echo(f"{stage}: up to {count} pictures by {drawer.model}")
        images, paid = images + count, paid + count * is_paid
    price = making.caps.price
    bound = f", {paid * price:.2f} in all at {price:g} each" if price is not None and paid else ""
    counted, cost = (0, 0.0)
    if folder.root.is_dir():
        counted, cost = Ledger(folder.root).spent(planned.id for planned in making.all)
    typer.echo(f"at most {images} pictures{bound}; counted so far: {counted}, {cost:.2f}. Nothing was sent.")


def told_drawing(making: "Making", folder: "WorkFolder", choices: dict[str, Any]) -> None:
    """Run the drawing stages under a bar that tells what is left and spent."""
    if not making.stages:
        return
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True)) as progress:
        tasks: dict[str, Any] = {}

        def tell(tally: "Tally") -> None:
            if tally.stage not in tasks:
                tasks[tally.stage] = progress.add_task(tally.stage)
            ended = tally.done + tally.refused + tally.failed + tally.left_out
            progress.update(tasks[tally.stage], completed=ended, total=tally.total, description=tally.words())

        def told(stage: str, done: int, count: int) -> None:
            name = f"crop: {stage}"
            if name not in tasks:
                tasks[name] = progress.add_task(name)
            progress.update(tasks[name], completed=done, total=count)

        find_masks = None
        if "crop" in making.stages:
            from ...triplets.annotation.target_masks import TargetMasks

            find_masks = TargetMasks(folder, choices["boxes"], choices["masks"], told)
        making.run(folder, find_masks, tell, typer.echo)
