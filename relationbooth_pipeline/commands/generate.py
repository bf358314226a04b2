"""`relationbooth generate`: a picture in which the user's objects do something together."""

from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

from .errors import clean_errors
from .terminal import denoising_progress, hide_bars, warn

if TYPE_CHECKING:
    from ..generation.settings import GenerationSettings

ILLUSTRATION_ONLY = "Illustration only: the miniature draws cartoons and has never seen a photo."


@clean_errors
def generate(
    prompt: Annotated[
        str | None,
        typer.Option(help="The sentence, with a relation: 'a cat is hugging a bear'. Needed without --from."),
    ] = None,
    image: Annotated[
        list[str] | None, typer.Option(help="Photo of an object, a file (no URL); repeat for each object.")
    ] = None,
    phrase: Annotated[
        list[str] | None, typer.Option(help="Noun of each image as in the prompt, in the same order: cat.")
    ] = None,
    box: Annotated[
        list[str] | None,
        typer.Option(
            help='Where each object goes: "x0,y0,x1,y1" in [0, 1], origin top left. Default: the RelationLoRA\'s '
            "layout, else side by side."
        ),
    ] = None,
    mask: Annotated[
        list[str] | None,
        typer.Option(
            help="Picture, white where the object goes, in place of its box; repeat for each object; none: its box."
        ),
    ] = None,
    automatic_layout: Annotated[
        bool, typer.Option("--automatic-layout", help="Find the places from the sentence while denoising.")
    ] = False,
    model: Annotated[str, typer.Option(help="SDXL folder, Hub repository or .safetensors file.")] = "miniature",
    adapter: Annotated[
        str | None, typer.Option(help="Adapter folder or repository; none: without. Default: the model's own.")
    ] = None,
    adapter_weight_name: Annotated[str | None, typer.Option(help="MS-Diffusion's file there: ms_adapter.bin.")] = None,
    image_encoder: Annotated[
        str | None, typer.Option(help="CLIP vision model of the adapter. Default: what the adapter names.")
    ] = None,
    local_image_encoder: Annotated[
        str | None, typer.Option(help="Dense CLIP for local tokens; none: without. Default: what the adapter names.")
    ] = None,
    local_tokens: Annotated[
        bool, typer.Option("--local-tokens/--no-local-tokens", help="Read the images' details by local tokens.")
    ] = True,
    lora: Annotated[
        list[str] | None,
        typer.Option(
            help="RelationLoRA or style LoRA, PATH or PATH:WEIGHT, weight in [0, 10]; repeat for more. Default "
            "weight: what the file suggests, else 1."
        ),
    ] = None,
    negative_prompt: Annotated[
        str | None, typer.Option(help="What the picture should not show. Default: nothing.")
    ] = None,
    seed: Annotated[int | None, typer.Option(help="Default: drawn, and kept in the PNG.")] = None,
    count: Annotated[
        int | None,
        typer.Option(
            help="Number of pictures, with the seeds SEED, SEED + 1, …; written to name.png, name_1.png, name_2.png, … "
            "Default: 1."
        ),
    ] = None,
    height: Annotated[
        int | None, typer.Option(help="Pixels, a multiple of 8 up to 4096. Default: the model's size.")
    ] = None,
    width: Annotated[int | None, typer.Option(help="As height.")] = None,
    steps: Annotated[int | None, typer.Option(help="Up to 1000. Default: 30; the miniature's 25.")] = None,
    guidance_scale: Annotated[
        float | None, typer.Option(help="In [0, 100]; up to 1: off. Default: 5; the miniature's 3.")
    ] = None,
    guidance_rescale: Annotated[float | None, typer.Option(help="In [0, 1]. Default: 0; the miniature's 0.5.")] = None,
    image_prompt_scale: Annotated[
        float | None,
        typer.Option(help="How strongly the images act, in [0, 10]. Default: 0.6; the miniature's 1."),
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option(
            help="The picture; a PNG that keeps all settings. A file of this name is replaced. Default: "
            "relationbooth.png."
        ),
    ] = None,
    sheet: Annotated[
        Path | None, typer.Option(help="Also write references | boxes | results to this PNG. Default: no sheet.")
    ] = None,
    jobs: Annotated[
        Path | None,
        typer.Option(
            "--from",
            help="JSON lines, one picture each: these options' names, and output. Draws what is not there yet; results "
            "go to NAME.results.jsonl. Only the options of model and device may stand beside it.",
        ),
    ] = None,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:N or mps.")] = "auto",
    dtype: Annotated[
        str, typer.Option(help="auto (float16; float32 on a CPU), float32, float16 or bfloat16.")
    ] = "auto",
    offload: Annotated[str, typer.Option(help="Low VRAM: none, model or sequential.")] = "none",
) -> None:
    """Generate a picture in which your objects do something together."""
    from ..generation.outputs import check_apart, check_output, numbered
    from ..generation.settings import GenerationSettings, parse_box, parse_lora

    common = {
        "model": model,
        "adapter": adapter,
        "adapter_weight_name": adapter_weight_name,
        "image_encoder": image_encoder,
        "local_image_encoder": local_image_encoder,
        "device": device,
        "dtype": dtype,
        "offload": offload,
    }
    if jobs is not None:
        own = {"--prompt": prompt, "--image": image, "--phrase": phrase, "--box": box, "--lora": lora, "--sheet": sheet}
        own |= {"--negative-prompt": negative_prompt, "--seed": seed, "--height": height, "--width": width}
        own |= {"--steps": steps, "--guidance-scale": guidance_scale, "--guidance-rescale": guidance_rescale}
        own |= {"--image-prompt-scale": image_prompt_scale, "--mask": mask, "--count": count, "--output": output}
        own |= {"--automatic-layout": automatic_layout or None, "--no-local-tokens": None if local_tokens else False}
        if given := [name for name, value in own.items() if value is not None]:
            raise ValueError(f"`--from` brings the settings of its pictures: leave out {', '.join(given)}.")
        return draw_batch(jobs, GenerationSettings("", **common))
    if prompt is None:
        raise ValueError("`--prompt` is needed, the sentence of the picture; or `--from`, a file of many.")
    count, output = 1 if count is None else count, output or Path("relationbooth.png")
    settings = GenerationSettings(
        prompt=prompt,
        lora=[parse_lora(text) for text in lora or []],
        image=image or [],
        phrase=phrase or [],
        box=[parse_box(text) for text in box] if box else None,
        mask=[None if text == "none" else text for text in mask] if mask else None,
        automatic_layout=automatic_layout,
        local_tokens=local_tokens,
        negative_prompt=negative_prompt,
        seed=seed,
        count=count,
        height=height,
        width=width,
        steps=steps,
        guidance_scale=guidance_scale,
        guidance_rescale=guidance_rescale,
        image_prompt_scale=image_prompt_scale,
        **common,
    )
    images = settings.checked()
    files = numbered(output, count)
    targets = [("--output", file) for file in files] + ([] if sheet is None else [("--sheet", sheet)])
    for flag, file in targets:
        check_output(flag, file)
    check_apart(targets, inputs=settings.files())

    console = Console(stderr=True)
    with console.status("loading models"):
        hide_bars()
        from ..generation.drawing import SHEET_PICTURES, draw_sheet, prepare, save

        generation = prepare(settings, images)
    for warning in generation.warnings:
        warn(warning)
    pictures = []
    with denoising_progress() as on_step:
        for index, file in enumerate(files):

            def advance(done: int, steps: int, index: int = index) -> None:
                on_step(index * steps + done, count * steps)

            picture = generation.run(advance, index)
            save(generation, picture, file, index)
            pictures = [*pictures, picture][:SHEET_PICTURES]
    if sheet is not None:
        draw_sheet(generation, pictures, sheet, ILLUSTRATION_ONLY if generation.is_illustration else None)
    for index, file in enumerate(files):  # told last: a closed pipe costs no file
        typer.echo(f"{file} (seed {settings.seed + index})")
    if sheet is not None:
        typer.echo(str(sheet))
    if generation.is_illustration:
        console.print(
            f"[yellow]{ILLUSTRATION_ONLY}[/] Name an SDXL model with --model for real pictures.", soft_wrap=True
        )


def draw_batch(file: Path, common: "GenerationSettings") -> None:
    """Draw the jobs of `file` that have no picture yet; tell how many, and end with 1 when some failed.

    Raises:
        ValueError: a line is wrong; nothing is drawn then.
    """
    from ..generation.jobs import draw_jobs, read_jobs

    jobs = read_jobs(file, common)
    results = file.with_name(f"{file.stem}.results.jsonl")
    if results.is_dir():
        raise ValueError(f"`--from`: the results go to `{results}`, which must be a file, but is a folder. Move it.")
    hide_bars()
    found: Counter = Counter()
    with denoising_progress() as show:

        def on_step(number: int, done: int, steps: int) -> None:
            show(number * steps + done, len(jobs) * steps)

        for told in draw_jobs(jobs, results, on_step):
            found[told["status"]] += 1
            if told["status"] == "failed":
                warn(f"line {told['line']}: {told['error']}")
    counts = ", ".join(f"{found[status]} {status}" for status in ("drawn", "kept", "failed"))
    typer.echo(f"{results}: {counts}")
    if found["failed"]:
        raise typer.Exit(1)
