"""`relationbooth evaluate`: cases, pictures of several systems, metrics with intervals, a page, and votes of people."""

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from .errors import clean_errors
from .terminal import hide_bars
from .triplets.cluster import Gpus, RayAddress

app = typer.Typer(no_args_is_help=True, help=__doc__)
Output = Annotated[Path, typer.Argument(help="Folder of a run.")]


@app.command()
@clean_errors
def cases(
    bench: Annotated[
        str,
        typer.Argument(
            help="relationbench, dreambench, dreambench-json, customconcept101, msbench or xversebench; a case file "
            "or miniature is checked."
        ),
    ],
    sources: Annotated[list[Path] | None, typer.Argument(help="Your downloads, as the bench needs them.")] = None,
    output: Annotated[Path | None, typer.Option(help="Case file to write (.jsonl).")] = None,
    sheet: Annotated[Path | None, typer.Option(help="PNG with every case's photos, phrases and predicate.")] = None,
    seed: Annotated[int, typer.Option(help="Of benches that are drawn (relationbench).")] = 0,
    count: Annotated[int, typer.Option(help="Cases of each half of relationbench.")] = 100,
) -> None:
    """Write cases from your own copy of a bench; check that photos open, phrases stand and predicates are found."""
    from ..evaluation.benches import BENCHES, open_cases, read_bench
    from ..evaluation.cases import CaseFile, case_predicate, read_cases, write_cases
    from ..evaluation.cases.sheet import case_sheet
    from ..generation.outputs import check_apart, check_output
    from ..sheets.png_settings import save_png

    if sheet is not None:
        check_output("--sheet", sheet)
    if bench in BENCHES:
        if output is None or output.suffix != ".jsonl":
            raise ValueError(f"`--output` must name the case file to write (.jsonl), got {output}.")
        found = CaseFile(tuple(read_bench(bench, sources or [], seed, count)), Path.cwd()).check()
    else:
        if sources or output:
            raise ValueError(f"`{bench}` is no bench to read ({', '.join(BENCHES)}); a case file takes no sources.")
        found = open_cases(bench).check()
    if sheet is not None:
        check_apart([("--sheet", sheet)], inputs=found.photos)
    if output is not None:
        found = read_cases(write_cases(found.cases, found.folder, output))
    without = [case.id for case in found.cases if case_predicate(case)[0] is None]
    typer.echo(f"{len(found.cases)} cases, fingerprint {found.fingerprint}")
    typer.echo(f"{len(without)} without a predicate (no CLIP-R)" + (f": {', '.join(without[:5])} …" if without else ""))
    if sheet is not None:
        save_png(case_sheet(found), sheet)
        typer.echo(str(sheet))


@app.command()
@clean_errors
def run(
    bench: Annotated[str, typer.Option(help="miniature, or a case file.")] = "miniature",
    output: Annotated[Path, typer.Option(help="Folder of the run; taken up again where it stopped.")] = Path(
        "evaluation"
    ),
    system: Annotated[
        list[str] | None, typer.Option(help="[NAME=]KIND[:SOURCE]; repeat. Default: ours, adapter, sdxl, floors.")
    ] = None,
    pictures: Annotated[int, typer.Option(help="Of each case and system.")] = 1,
    limit: Annotated[int | None, typer.Option(help="Cases, spread over the bench. Default: all.")] = None,
    model: Annotated[
        str | None, typer.Option(help="SDXL folder, repository or file. Default: the bench's own.")
    ] = None,
    adapter: Annotated[str | None, typer.Option(help="As in generate.")] = None,
    adapter_weight_name: Annotated[str | None, typer.Option(help="As in generate.")] = None,
    image_encoder: Annotated[str | None, typer.Option(help="As in generate.")] = None,
    local_image_encoder: Annotated[str | None, typer.Option(help="As in generate.")] = None,
    lora_table: Annotated[
        Path | None, typer.Option(help="JSON: predicate → RelationLoRA. Default: the model's.")
    ] = None,
    negative_prompt: Annotated[str | None, typer.Option(help="As in generate.")] = None,
    steps: Annotated[int | None, typer.Option(help="As in generate.")] = None,
    guidance_scale: Annotated[float | None, typer.Option(help="As in generate.")] = None,
    image_prompt_scale: Annotated[float | None, typer.Option(help="As in generate.")] = None,
    height: Annotated[int | None, typer.Option(help="As in generate.")] = None,
    width: Annotated[int | None, typer.Option(help="As in generate.")] = None,
    late_start: Annotated[int, typer.Option(help="Of the system late: steps before image prompts act.")] = 5,
    subject_token: Annotated[str, typer.Option(help="Of dreambooth: the rare word.")] = "sks",
    clip: Annotated[str | None, typer.Option(help="CLIP model. Default: ViT-B/32; the miniature's own towers.")] = None,
    dino: Annotated[str | None, typer.Option(help="DINO model. Default: dino-vits16; the miniature's own.")] = None,
    detector: Annotated[
        str, typer.Option(help="OWLv2 or Grounding DINO; miniature; boxes: the case's own; none.")
    ] = "boxes",
    vlm: Annotated[str | None, typer.Option(help="Image-text-to-text model that answers yes/no questions.")] = None,
    judge: Annotated[str | None, typer.Option(help="OpenAI-compatible endpoint (…/v1).")] = None,
    judge_model: Annotated[str | None, typer.Option(help="Its model's name.")] = None,
    protocol: Annotated[str, typer.Option(help="relationbench (100·cos) or custom-diffusion.")] = "relationbench",
    predicate: Annotated[str, typer.Option(help="Of CLIP-R: with_object or verb.")] = "with_object",
    against: Annotated[str | None, typer.Option(help="System that the others are compared with.")] = None,
    published: Annotated[bool, typer.Option(help="Also show the paper's figures, marked as such.")] = False,
    shard: Annotated[str | None, typer.Option(help="i/n, i from 0: only this part; report afterwards.")] = None,
    engine: Annotated[str, typer.Option(help="local (also under torchrun) or ray.")] = "local",
    workers: Annotated[int, typer.Option(help="Of Ray.")] = 2,
    ray_address: RayAddress = None,
    gpus: Gpus = 0,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:N or mps.")] = "auto",
    dtype: Annotated[str, typer.Option(help="As in generate.")] = "auto",
    cases_a_call: Annotated[
        int | None, typer.Option(help="Drawn together in one call of a pipeline. Default: 8 in the miniature, else 1.")
    ] = None,
    batch_size: Annotated[int, typer.Option(help="Pictures a pass of metrics; 1 repeats to the last digit.")] = 1,
    dry_run: Annotated[bool, typer.Option(help="Only tell how many pictures are left, and for how long.")] = False,
) -> None:
    """Draw every case with every system, score the pictures, and write report.html, report.md and results.jsonl."""
    from ..evaluation.engine import Run, RunOptions
    from ..evaluation.finishing import default_models, estimate, finish
    from ..evaluation.metrics import MetricOptions
    from ..evaluation.systems import DEFAULT_SYSTEMS, SystemOptions
    from ..generation.settings import GenerationSettings

    defaults = default_models(bench, model, clip, dino)
    generation = GenerationSettings(
        prompt="of each case",
        model=defaults.model,
        adapter=adapter,
        adapter_weight_name=adapter_weight_name,
        image_encoder=image_encoder,
        local_image_encoder=local_image_encoder,
        negative_prompt=negative_prompt,
        seed=0,
        height=height,
        width=width,
        steps=steps,
        guidance_scale=guidance_scale,
        image_prompt_scale=image_prompt_scale,
        device=device,
        dtype=dtype,
    )
    generation.checked()
    hide_bars()
    options = RunOptions(
        bench=bench,
        output=output,
        systems=tuple(system or DEFAULT_SYSTEMS),
        system_options=SystemOptions(
            generation=generation,
            lora_table=lora_table,
            late_start=late_start,
            pictures=pictures,
            collage_size=height or defaults.size,
            subject_token=subject_token,
            cases_a_call=defaults.cases_a_call if cases_a_call is None else cases_a_call,
        ),
        metric_options=MetricOptions(
            clip=defaults.clip,
            dino=defaults.dino,
            detector=None if detector == "none" else detector,
            vlm=vlm,
            judge=judge,
            judge_model=judge_model,
            protocol=protocol,
            predicate_rule=predicate,
            device=device,
            batch_size=batch_size,
        ),
        pictures=pictures,
        limit=limit,
        against=against,
        shard=shard,
        engine=engine,
        workers=workers,
        ray_address=ray_address,
        gpus=gpus,
    )
    opened = Run(options)
    if dry_run:
        for line in estimate(opened):
            typer.echo(line)
        return
    for stage in ("draw", "score"):
        _work(opened, stage)
    if shard is not None:
        typer.echo(f"{output}: this shard is done; when all are, `relationbooth evaluate report {output}`.")
        return
    for line in finish(opened, published):
        typer.echo(line)


def _work(opened, stage: str) -> None:
    columns = (TextColumn("{task.description:6}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True)) as progress:
        task = progress.add_task(stage, total=opened.pictures_of(opened.items_of_share()))
        for item in opened.work(stage):
            progress.advance(task, opened.pictures_of([item]))


@app.command()
@clean_errors
def report(
    output: Output,
    bench: Annotated[str | None, typer.Option(help="Default: as the run was started.")] = None,
    against: Annotated[str | None, typer.Option(help="System that the others are compared with.")] = None,
    published: Annotated[bool, typer.Option(help="Also show the paper's figures, marked as such.")] = False,
    partial: Annotated[bool, typer.Option(help="Allow cases that are not scored yet.")] = False,
) -> None:
    """Write the page again, after the last shard, or with new votes."""
    from ..evaluation.finishing import report_of

    for line in report_of(output, bench, against, published, partial):
        typer.echo(line)


@app.command()
@clean_errors
def compare(
    runs: Annotated[list[Path], typer.Argument(help="Folders of runs, or results.jsonl files; two or more.")],
    bench: Annotated[str | None, typer.Option(help="The case file, to tell one object from two.")] = None,
    against: Annotated[str | None, typer.Option(help="System that the others are compared with.")] = None,
) -> None:
    """Print one table of several runs' systems, on the cases that all have; refused unless of one case file."""
    from ..evaluation.finishing import comparison

    typer.echo(comparison(runs, bench, against))


@app.command()
@clean_errors
def vote(
    output: Output,
    first: Annotated[str, typer.Option(help="A system of the run.")],
    second: Annotated[str, typer.Option(help="Another.")],
    bench: Annotated[str | None, typer.Option(help="Default: as the run was started.")] = None,
    port: Annotated[int, typer.Option(help="Of 127.0.0.1; 0: any free one.")] = 0,
) -> None:
    """Compare two systems blind in the browser; votes go to votes.jsonl and, with `report`, into the page."""
    from ..evaluation.finishing import ballot

    server = ballot(output, first, second, bench, port)
    typer.echo(f"http://127.0.0.1:{server.server_address[1]}/ (Ctrl-C ends it)")
    try:
        server.serve_forever()
    except KeyboardInterrupt:
        typer.echo("")
    finally:
        server.server_close()
