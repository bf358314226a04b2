"""The command `relationbooth`: generate a picture, check triplets, convert checkpoints, tell what a file holds."""

import contextlib
import json
from pathlib import Path
from typing import Annotated

try:
    import typer
    from rich.console import Console
    from rich.markup import escape
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
except ImportError as error:
    raise SystemExit(f"the command line needs typer and rich ({error}): pip install 'relationbooth[cli]'") from error

from ..generation.drawing import draw_sheet, prepare, save
from ..generation.settings import GenerationSettings, check_output, parse_box, parse_lora
from .conversion import convert_checkpoint
from .demo_sheet import DEFAULT_RELATION, draw_demo, relations
from .errors import clean_errors
from .features import features
from .summary import summary
from .triplets import app as triplets

app = typer.Typer(
    no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False, rich_markup_mode=None, help=__doc__
)
app.add_typer(triplets, name="triplets")
app.command()(features)
ILLUSTRATION_ONLY = "Illustration only: the miniature draws cartoons and has never seen a photo."


@contextlib.contextmanager
def denoising_progress(console: Console):
    """A progress bar; yields the callable that moves it to (steps done, steps in all)."""
    columns = (TextColumn("denoising"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console) as progress:
        task = progress.add_task("denoising", total=None)
        yield lambda done, total: progress.update(task, completed=done, total=total)


@app.command()
@clean_errors
def generate(
    prompt: Annotated[str, typer.Option(help="The sentence, with a relation: 'a cat is hugging a bear'.")],
    image: Annotated[list[str] | None, typer.Option(help="Photo of an object; repeat for each object.")] = None,
    phrase: Annotated[list[str] | None, typer.Option(help="Noun of each image, in the same order: cat.")] = None,
    box: Annotated[
        list[str] | None, typer.Option(help='Where each object goes: "x0,y0,x1,y1" in [0, 1], origin top left.')
    ] = None,
    model: Annotated[str, typer.Option(help="SDXL folder, Hub repository or .safetensors file.")] = "miniature",
    adapter: Annotated[
        str | None, typer.Option(help="Adapter folder or repository; none: without. Default: the model's own.")
    ] = None,
    adapter_weight_name: Annotated[str | None, typer.Option(help="MS-Diffusion's file there: ms_adapter.bin.")] = None,
    image_encoder: Annotated[str | None, typer.Option(help="CLIP vision model of the adapter.")] = None,
    local_image_encoder: Annotated[
        str | None, typer.Option(help="Dense CLIP for local tokens; none: without local tokens.")
    ] = None,
    lora: Annotated[list[str] | None, typer.Option(help="RelationLoRA or style LoRA, PATH or PATH:WEIGHT.")] = None,
    negative_prompt: Annotated[str | None, typer.Option(help="What the picture should not show.")] = None,
    seed: Annotated[int | None, typer.Option(help="Default: drawn, and kept in the PNG.")] = None,
    height: Annotated[int | None, typer.Option(help="Pixels, a multiple of 8. Default: the model's size.")] = None,
    width: Annotated[int | None, typer.Option(help="As height.")] = None,
    steps: Annotated[int | None, typer.Option(help="Default: 30; the miniature's 25.")] = None,
    guidance_scale: Annotated[float | None, typer.Option(help="Default: 5; the miniature's 3.")] = None,
    guidance_rescale: Annotated[float | None, typer.Option(help="Default: 0; the miniature's 0.5.")] = None,
    image_prompt_scale: Annotated[
        float | None, typer.Option(help="How strongly the images act (γ). Default: 0.6; the miniature's 1.")
    ] = None,
    output: Annotated[Path, typer.Option(help="The picture; a PNG that keeps all settings.")] = Path(
        "relationbooth.png"
    ),
    sheet: Annotated[Path | None, typer.Option(help="Also write references | boxes | result to this PNG.")] = None,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:N or mps.")] = "auto",
    dtype: Annotated[
        str, typer.Option(help="auto (float16; float32 on a CPU), float32, float16 or bfloat16.")
    ] = "auto",
    offload: Annotated[str, typer.Option(help="Low VRAM: none, model or sequential.")] = "none",
) -> None:
    """Generate a picture in which your objects do something together."""
    settings = GenerationSettings(
        prompt=prompt,
        model=model,
        adapter=adapter,
        adapter_weight_name=adapter_weight_name,
        image_encoder=image_encoder,
        local_image_encoder=local_image_encoder,
        lora=[parse_lora(text) for text in lora or []],
        image=image or [],
        phrase=phrase or [],
        box=[parse_box(text) for text in box] if box else None,
        negative_prompt=negative_prompt,
        seed=seed,
        height=height,
        width=width,
        steps=steps,
        guidance_scale=guidance_scale,
        guidance_rescale=guidance_rescale,
        image_prompt_scale=image_prompt_scale,
        device=device,
        dtype=dtype,
        offload=offload,
    )
    check_output("--output", output)
    if sheet is not None:
        check_output("--sheet", sheet)
        if sheet.absolute() == output.absolute():
            raise ValueError(f"`--sheet` and `--output` must be two files, got `{output}` for both.")
    images = settings.checked()

    console = Console(stderr=True)
    with console.status("loading models"):
        generation = prepare(settings, images)
    for warning in generation.warnings:
        console.print(f"[yellow]Warning:[/] {escape(warning)}", soft_wrap=True, highlight=False)
    with denoising_progress(console) as on_step:
        picture = generation.run(on_step)
    save(generation, picture, output)
    typer.echo(f"{output} (seed {settings.seed})")
    if sheet is not None:
        draw_sheet(generation, picture, sheet, ILLUSTRATION_ONLY if generation.is_illustration else None)
        typer.echo(str(sheet))
    if generation.is_illustration:
        console.print(
            f"[yellow]{ILLUSTRATION_ONLY}[/] Name an SDXL model with --model for real pictures.", soft_wrap=True
        )


@app.command()
@clean_errors
def demo(
    relation: Annotated[str, typer.Option(help="One that comes with the miniature.")] = DEFAULT_RELATION,
    seed: Annotated[int, typer.Option(help="Of both pictures.")] = 0,
    weight: Annotated[float, typer.Option(help="Of the RelationLoRA; less keeps more likeness.")] = 1.0,
    output: Annotated[Path, typer.Option(help="The contact sheet.")] = Path("demo.png"),
) -> None:
    """Two characters that no training has seen: the adapter alone and with a RelationLoRA, from the same seed."""
    check_output("--output", output)
    if not relations():
        raise ValueError("the miniature came without RelationLoRAs. Install the package with its data.")
    console = Console(stderr=True)
    with denoising_progress(console) as on_step:
        sheet = draw_demo(relation, seed, weight, on_step)
    sheet.save(output)
    typer.echo(str(output))


@app.command()
@clean_errors
def convert(
    source: Annotated[Path, typer.Argument(help="ms_adapter.bin, or an open_clip / CLIPSelf checkpoint.")],
    output: Annotated[Path, typer.Argument(help="New folder.")],
    unet: Annotated[
        str | None, typer.Option(help="Folder or repository of the base, if not SDXL base 1.0's shape.")
    ] = None,
    image_encoder: Annotated[str | None, typer.Option(help="Repository that the adapter's config will name.")] = None,
    local_image_encoder: Annotated[str | None, typer.Option(help="As image-encoder, for local tokens.")] = None,
) -> None:
    """Bring MS-Diffusion's adapter file or a CLIPSelf checkpoint into our folders (safetensors)."""
    typer.echo(convert_checkpoint(source, output, unet, image_encoder, local_image_encoder))


@app.command()
@clean_errors
def info(
    file: Annotated[
        Path, typer.Argument(help="Adapter or pipeline folder, LoRA or checkpoint file, or generated PNG.")
    ],
) -> None:
    """Tell what an adapter, a LoRA or a generated picture holds, as JSON."""
    typer.echo(json.dumps(summary(file), indent=2, ensure_ascii=False))


if __name__ == "__main__":
    app()
