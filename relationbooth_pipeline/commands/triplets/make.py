"""`relationbooth triplets make`: from a relation's sentence to triplets, drawn by a local model or an endpoint."""

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from ..errors import clean_errors
from .annotate import AcceptAll, GeneratorLicences, Licence, Work
from .cluster import Actors, Cluster, Engine, Gpus, RayAddress
from .jobs import Annotating, Drawing, Painters, annotator_names
from .running import (
    check_new_folder,
    export_folder,
    run_stages,
    tell_filtered,
    tell_keypoints,
    told_one_by_one,
    told_when_full,
)
from .telling import told_drawing, told_plan

GENERATORS = "openai:MODEL, diffusers:MODEL, relationbooth:MODEL, miniature or module:Class"


def _option(name: str, text: str) -> Any:
    """With hyphens as the other commands have it, and with the underscores of plans."""
    return typer.Option(*dict.fromkeys((f"--{name}", f"--{name.replace('-', '_')}")), help=text)


def _texts(name: str, text: str) -> Any:
    return Annotated[list[str] | None, _option(name, text)]


def _text(name: str, text: str) -> Any:
    return Annotated[str | None, _option(name, text)]


def _whole(name: str, text: str) -> Any:
    return Annotated[int | None, _option(name, text)]


def _number(name: str, text: str) -> Any:
    return Annotated[float | None, _option(name, text)]


@clean_errors
def make(
    output: Annotated[Path, typer.Argument(help="New folder of triplets.")],
    work: Work = None,
    plan: Annotated[Path | None, typer.Option(help="YAML of the fields below; see docs/triplets.md.")] = None,
    relation: _text("relation", "Its name: shaking_hands.") = None,
    template: _text("template", "Sentence with slots: 'a {0} is shaking hands with a {1}'.") = None,
    predicate: _text("predicate", "The relation's words in it. Default: told by the sentence.") = None,
    objects: _texts("objects", "Phrases for the slots, 'cat,bear'; repeat for more groups.") = None,
    count: _whole("count", "Candidates of each group. Default: 4.") = None,
    scene: _texts("scene", "Where it happens, after the sentence, by turns: 'in a meadow'; repeat.") = None,
    same_template: _texts("same-template", "Sentence for an object alone: 'a {0} is standing'. Repeat.") = None,
    size: _text("size", "Pixels: 1024 or 1536x1024. Default: the generator's own.") = None,
    seed: _whole("seed", "Of all seeds. Default: 0.") = None,
    generator: _text("generator", f"Who draws targets: {GENERATORS}.") = None,
    generator_options: _text("generator-options", 'JSON of its options: {"quality": "high"}.') = None,
    same_generator: _text("same-generator", "Who draws the same objects alone. Default: the generator.") = None,
    same_options: _text("same-options", "JSON of its options. Default: the generator's, where they are one.") = None,
    base_url: _text("base-url", "Address of the endpoint. Default: OpenAI's.") = None,
    key_variable: _text("key-variable", "Environment variable with its key. Default: OPENAI_API_KEY.") = None,
    max_images: _whole("max-images", "Cap of pictures in all.") = None,
    max_cost: _number("max-cost", "Cap of costs in all, with --price.") = None,
    price: _number("price", "What one picture of the endpoint costs you.") = None,
    workers: Annotated[int, _option("workers", "Requests at a time.")] = 4,
    per_minute: Annotated[float, _option("per-minute", "Requests a minute at best.")] = 60,
    tries: Annotated[int, _option("tries", "Of a request that was surely not drawn.")] = 6,
    on_long_wait: Annotated[str, _option("on-long-wait", "wait or stop when told to wait over two minutes.")] = "stop",
    again: Annotated[
        bool, typer.Option("--again", help="Send once more what was refused, and pay again for what came broken.")
    ] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", "--dry_run", help="Tell prompts, counts and the upper bound; nothing is sent.")
    ] = False,
    annotators: Annotated[str, typer.Option(help="photos or miniature, as in `triplets annotate`.")] = "photos",
    boxes: _text("boxes", "One of them: owlv2:MODEL, …; see `annotate`.") = None,
    masks: _text("masks", "Likewise: sam:MODEL, …") = None,
    keypoints: _text("keypoints", "vitpose:MODEL, …, none.") = None,
    captions: _text("captions", "vlm:MODEL, none (the plan's sentence).") = None,
    judge: _text("judge", "vlm:MODEL, …, none.") = None,
    likeness: _text("likeness", "dino:MODEL, …, none.") = None,
    threshold: _texts("threshold", "NAME=NUMBER of a filter's threshold; repeat.") = None,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:N or mps.")] = "auto",
    batch_size: Annotated[int, _option("batch-size", "Targets of one call of a local model.")] = 1,
    shard: Annotated[str | None, typer.Option(help="i/n, i from 0: only this part; export afterwards.")] = None,
    until: Annotated[
        str, typer.Option(help="Last stage: generate, crop, same, find … filter as in `annotate`, or export.")
    ] = "export",
    stage: Annotated[str | None, typer.Option(help="Only this stage, on what is there.")] = None,
    engine: Engine = "local",
    actors: Actors = 1,
    ray_address: RayAddress = None,
    gpus: Gpus = 0,
    accept_all: AcceptAll = False,
    licence: Licence = None,
    generator_licence: GeneratorLicences = None,
) -> None:
    """Draw a relation, its objects again alone, and make triplets of them.

    The same command takes up what was interrupted; nothing is paid for twice.
    """
    from ...parallel import Share
    from ...triplets.annotation import ExportOptions, Thresholds
    from ...triplets.annotators import check_words
    from ...triplets.engine import WorkFolder
    from ...triplets.engine.asking import Manners
    from ...triplets.engine.budget import Caps
    from ...triplets.engine.make import STAGES
    from ...triplets.engine.plan import read_plan
    from ...triplets.generators import ADDRESS, KEY_VARIABLE

    stages = _stages(STAGES, until, stage)
    share, cluster = Share.of(shard), Cluster(engine, actors, ray_address, gpus, shard)
    check_new_folder(output)
    exported = ExportOptions(accept_all, licence, tuple(generator_licence or ()))
    folder = WorkFolder(work or output.with_name(f"{output.name}_work"))
    given = {"relation": relation, "template": template, "predicate": predicate, "count": count, "seed": seed,
             "scenes": scene, "same_templates": same_template, "size": _size(size),
             "objects": None if objects is None else [group.split(",") for group in objects]}  # fmt: skip
    planned = read_plan(plan, given).with_predicate(folder.plan())
    if generator is None:
        raise ValueError(f"`--generator` is needed: {GENERATORS}.")
    painters = Painters(
        generator,
        _json("--generator-options", generator_options),
        same_generator,
        None if same_options is None else _json("--same-options", same_options),
        base_url or ADDRESS,
        key_variable or KEY_VARIABLE,
        device,
        batch_size,
    )
    own = {"boxes": boxes, "masks": masks, "keypoints": keypoints, "captions": captions, "judge": judge,
           "likeness": likeness}  # fmt: skip
    later = [name for name in stages if name not in (*STAGES, "export")]
    last = later[-1] if later else "filter"  # none where "crop" alone asks annotators
    annotating = None
    if {*stages} - {"generate", "same", "export"}:
        names, limits = annotator_names(annotators, own), Thresholds().changed(threshold or [])
        annotating = Annotating(folder.root.absolute(), names, device, limits, last)
    caps = Caps(max_images, max_cost, price)
    manners = Manners(workers, per_minute, tries, on_long_wait=on_long_wait, again=again)
    drawing = tuple(name for name in STAGES if name in stages)
    job = Drawing(folder.root.absolute(), planned, painters, caps, manners, drawing, annotating, bool(later))
    making = job.making(share)
    folder.check_plan(making.claimed())
    making.check_bound()
    if dry_run:
        told_plan(making, folder)
        return
    choices = {}
    if annotating is not None:
        with told_one_by_one("the annotators"):
            choices = annotating.choices()
            check_words(choices, [(candidate.phrases, making.plan.predicate) for candidate in making.all])
    making.check_generators()
    with told_when_full(folder.root):
        folder.claim(making.claimed())
        if not cluster.is_ray:
            told_drawing(making, folder, choices)
    if cluster.is_ray:
        if later:
            tell_keypoints(choices)
        with told_one_by_one(f"`{folder.root}`"):
            cluster.run(job.among(actors))
        if later:
            tell_filtered(folder, making.own_share(), last)
    elif later:
        own_share = making.own_share()
        with folder.locked(f"shard-{own_share.index}-of-{own_share.count}"):
            run_stages(folder, choices, annotating.thresholds, own_share, last)
    if "export" not in stages:
        return
    if share.count > 1:
        typer.echo(f"this shard is done; when all are, `relationbooth triplets export {folder.root} {output}`.")
        return
    export_folder(folder, output, exported)


def _stages(drawing: tuple[str, ...], until: str, only: str | None) -> list[str]:
    """Names of the stages that shall run, in their order."""
    known = [*drawing, "find", "segment", "keypoints", "caption", "likeness", "relation", "filter", "export"]
    for flag, name in (("--until", until), ("--stage", only)):
        if name is not None and name not in known:
            raise ValueError(f"`{flag}` must be one of {', '.join(known)}, got {name!r}.")
    return known[: known.index(until) + 1] if only is None else [only]


def _json(flag: str, text: str | None) -> dict[str, Any]:
    try:
        found = json.loads(text or "{}")
    except ValueError as error:
        raise ValueError(f'`{flag}` must be JSON such as {{"quality": "high"}} ({error}).') from error
    if not isinstance(found, dict):
        raise ValueError(f'`{flag}` must be a JSON object such as {{"quality": "high"}}.')
    return found


def _size(text: str | None) -> list[int] | None:
    """ "1024" or "1536x1024" → [width, height]."""
    if text is None:
        return None
    sides = text.lower().split("x")
    if len(sides) > 2 or not all(side.isdecimal() for side in sides):
        raise ValueError(f"`--size` must be 1024 or 1536x1024 (width × height), got {text!r}.")
    return [int(side) for side in sides] * (3 - len(sides))
