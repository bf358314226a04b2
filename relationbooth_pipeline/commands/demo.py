"""`relationbooth demo`: two characters that no training has seen, one seed without and with a RelationLoRA."""

from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import typer
from PIL import Image

from .. import __version__, miniature
from .errors import clean_errors
from .showcase import draw_counted, draw_showcase, first_cases
from .terminal import denoising_progress, hide_bars

PLACE = "in a meadow"
DEFAULT_RELATION = "dancing"  # neither base nor adapter ever saw it: twelve triplets taught it


def relations() -> list[str]:
    """Names of the RelationLoRAs that come with the miniature."""
    return sorted({file.parent.name for file in (miniature.path() / "relation_loras").glob("*/*.safetensors")})


def references() -> dict[str, Image.Image]:
    """Phrase → picture of the demo's characters; held out of all training."""
    return {
        file.stem: Image.open(file).convert("RGB") for file in sorted((miniature.path() / "references").glob("*.png"))
    }


def check_relation(relation: str) -> None:
    """Raise a ValueError unless the miniature brings a RelationLoRA of this name."""
    known = relations()
    if not known:
        raise ValueError("the miniature came without RelationLoRAs. Install the package with its data.")
    if relation not in known:
        raise ValueError(f"`--relation` must be one of {', '.join(known)}, got {relation!r}.")


def draw_demo(
    relation: str, seed: int, weight: float | None = None, on_step: Callable[[int, int], None] | None = None
) -> Image.Image:
    """Contact sheet: references, boxes, the adapter alone, and the adapter with the RelationLoRA.

    Args:
        relation: one of `relations()`.
        seed: of both pictures. weight: of the RelationLoRA, as in `set_adapters`; None: what its header suggests.
        on_step: told (steps done, steps in all).
    Raises:
        ValueError: no such RelationLoRA.
    """
    from ..pipeline import RelationBoothPipeline
    from ..relation_files import LORA_WEIGHT_NAME
    from ..relation_regions import read_relation_metadata
    from ..sheets.contact import contact_sheet

    check_relation(relation)
    folder, characters = miniature.path(), references()
    file = folder / "relation_loras" / relation / LORA_WEIGHT_NAME
    metadata = read_relation_metadata(file)
    pipe = RelationBoothPipeline.from_pretrained(folder)
    pipe.set_progress_bar_config(disable=True)
    boxes = metadata.layout_prior
    characters = dict(list(characters.items())[: len(boxes)])  # an action needs only the first
    phrases = list(characters)
    prompt = f"{metadata.template.format(*phrases)} {PLACE}"
    encoded = pipe.encode_image_prompts(list(characters.values()), phrases)
    results: dict[str, Image.Image] = {}
    for number, name in enumerate(("adapter alone", "RelationBooth")):
        if name == "RelationBooth":
            pipe.load_lora_weights(file, adapter_name=relation)
            pipe.set_adapters(relation, metadata.scale if weight is None else weight)
        results[name] = draw_counted(pipe, prompt, number, 2, on_step, seed, image_prompts=encoded, boxes=boxes)
    note = "A cartoon world, drawn by the embedded miniature. Its characters were held out of all training."
    return contact_sheet(list(characters.values()), phrases, boxes, results, prompt, note)


@clean_errors
def demo(
    relation: Annotated[
        str | None, typer.Option(help=f"One that comes with the miniature; {DEFAULT_RELATION} unless named.")
    ] = None,
    showcase: Annotated[
        bool,
        typer.Option("--showcase", help="All that come with the miniature, two seeds each, unpicked: half a minute."),
    ] = False,
    seed: Annotated[int, typer.Option(help="Of both pictures.")] = 0,
    weight: Annotated[
        float | None,
        typer.Option(
            help="Of the RelationLoRA, in [0, 10]; less keeps more likeness. Default: what it suggests itself."
        ),
    ] = None,
    output: Annotated[Path, typer.Option(help="The contact sheet, a PNG. A file of this name is replaced.")] = Path(
        "demo.png"
    ),
) -> None:
    """Two characters that no training has seen: the adapter alone and with a RelationLoRA, from the same seed.

    With `--showcase`: others in every relation that the miniature brings.
    """
    if showcase and relation is not None:
        raise ValueError(f"`--showcase` draws every relation, got `--relation {relation}` too. Leave one of them out.")
    relation = relation or DEFAULT_RELATION
    names = relations() if showcase else [relation]
    check_relation(names[0] if names else relation)
    from ..generation.checks import LIMITS, MAX_LORA_WEIGHT, check_number
    from ..generation.outputs import check_output
    from ..sheets.png_settings import save_png

    check_number("--seed", seed, *LIMITS["seed"])
    if weight is not None:
        check_number("--weight", weight, 0.0, MAX_LORA_WEIGHT)
    check_output("--output", output)
    if showcase:
        first_cases(names)
    hide_bars()
    with denoising_progress() as on_step:
        if showcase:
            sheet = draw_showcase(names, seed, weight, on_step)
        else:
            sheet = draw_demo(relation, seed, weight, on_step)
    told = "as each RelationLoRA suggests" if weight is None else weight
    settings = {"kind": "demo", "relation": ", ".join(names), "seed": seed, "weight": told}
    save_png(sheet, output, settings | {"relationbooth_version": __version__})
    typer.echo(str(output))
