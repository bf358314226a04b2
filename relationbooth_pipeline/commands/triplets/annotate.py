"""`relationbooth triplets annotate`, `export` and `convert-keypoints`: pictures that exist become triplets."""

from pathlib import Path
from typing import Annotated

import typer

from ..errors import clean_errors
from .cluster import Actors, Cluster, Engine, Gpus, RayAddress
from .jobs import Annotating, annotator_names
from .running import (
    check_new_folder,
    export_folder,
    run_stages,
    tell_filtered,
    tell_keypoints,
    told_one_by_one,
    told_when_full,
)

Licence = Annotated[str | None, typer.Option(help="Licence of the data set, as the Hub names it: cc-by-4.0.")]
GeneratorLicences = Annotated[
    list[str] | None,
    typer.Option("--generator-licence", help="'MODEL: LICENCE' of what drew pictures; repeat. The card states it."),
]
People = Annotated[bool, typer.Option("--people", help="The photos show people, who gave their written consent.")]
AcceptAll = Annotated[
    bool,
    typer.Option("--accept-all", "--accept_all", help="Take what the filters accept without anybody looking at it."),
]
Work = Annotated[Path | None, typer.Option(help="Work folder, taken up again. Default: OUTPUT_work.")]


def _named(role: str, known: str):
    return typer.Option(f"--{role}", help=f"{known}, module:Class. Default: see `--annotators`.")


@clean_errors
def annotate(
    pictures: Annotated[
        Path,
        typer.Argument(
            help="Folder: NAME.jpg with NAME_object_0.jpg, NAME_object_1.jpg; or pictures.csv in it; or a CSV."
        ),
    ],
    output: Annotated[Path, typer.Argument(help="New folder of triplets.")],
    work: Work = None,
    phrase: Annotated[
        list[str] | None, typer.Option(help="Noun of an object, in order: repeat it. For rows that name none.")
    ] = None,
    predicate: Annotated[str | None, typer.Option(help="The relation's words, as in the prompt: hugging.")] = None,
    prompt: Annotated[str | None, typer.Option(help="Sentence with them. Default: by the caption stage.")] = None,
    annotators: Annotated[
        str, typer.Option(help="'photos' (OWLv2, SAM, ViTPose, DINO) or 'miniature' (the drawn world's own).")
    ] = "photos",
    boxes: Annotated[str | None, _named("boxes", "owlv2:MODEL, grounding-dino:MODEL, miniature")] = None,
    masks: Annotated[str | None, _named("masks", "sam:MODEL, sam2:MODEL, miniature")] = None,
    keypoints: Annotated[str | None, _named("keypoints", "vitpose:MODEL, miniature, none")] = None,
    captions: Annotated[str | None, _named("captions", "vlm:MODEL, none (a template)")] = None,
    judge: Annotated[str | None, _named("judge", "vlm:MODEL, miniature, none")] = None,
    likeness: Annotated[str | None, _named("likeness", "dino:MODEL, clip:MODEL, miniature, none")] = None,
    threshold: Annotated[
        list[str] | None, typer.Option(help="NAME=NUMBER of a filter's threshold; repeat. See docs/triplets.md.")
    ] = None,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:N or mps.")] = "auto",
    shard: Annotated[str | None, typer.Option(help="i/n, i from 0: only this part; export afterwards.")] = None,
    until: Annotated[
        str, typer.Option(help="Last stage: find, segment, keypoints, caption, likeness, relation, filter or export.")
    ] = "export",
    engine: Engine = "local",
    actors: Actors = 1,
    ray_address: RayAddress = None,
    gpus: Gpus = 0,
    accept_all: AcceptAll = False,
    licence: Licence = None,
    generator_licence: GeneratorLicences = None,
    people: People = False,
) -> None:
    """Boxes, masks, keypoints, sentences and filters for photos of a relation, then a triplet folder.

    Every stage is taken up where it ended; what a review changed is looked at anew.
    """
    from ...parallel import Share
    from ...triplets.annotation import STAGES, ExportOptions, Thresholds, keep_pictures
    from ...triplets.annotators import check_words
    from ...triplets.engine import WorkFolder
    from ...triplets.photos import read_pictures

    check_new_folder(output)
    if until not in (*STAGES, "export"):
        raise ValueError(f"`--until` must be one of {', '.join(STAGES)} or export, got {until!r}.")
    share, limits = Share.of(shard), Thresholds().changed(threshold or [])
    cluster = Cluster(engine, actors, ray_address, gpus, shard)
    given = {"boxes": boxes, "masks": masks, "keypoints": keypoints, "captions": captions, "judge": judge,
             "likeness": likeness}  # fmt: skip
    names = annotator_names(annotators, given)
    with told_one_by_one(f"`{pictures}`"):
        rows = read_pictures(pictures, phrase or [], predicate, prompt)
    folder = WorkFolder(work or output.with_name(f"{output.name}_work"))
    last = "filter" if until == "export" else until
    job = Annotating(folder.root.absolute(), names, device, limits, last)
    with told_one_by_one("the annotators"):
        choices = job.choices()
        check_words(choices, [(row.phrases, row.predicate) for row in rows])
    options = ExportOptions(accept_all, licence, tuple(generator_licence or ()), people)
    with told_when_full(folder.root), folder.locked(f"shard-{share.index}-of-{share.count}"):
        keep_pictures(folder, rows)
        if not cluster.is_ray:
            run_stages(folder, choices, limits, share, until)
    if cluster.is_ray:
        tell_keypoints(choices)
        with told_one_by_one(f"`{folder.root}`"):
            cluster.run(job)
        tell_filtered(folder, share, until)
    if until != "export":
        return
    if share.count > 1:
        typer.echo(
            f"{folder.root}: this shard is done; when all are, `relationbooth triplets export {folder.root} {output}`."
        )
        return
    export_folder(folder, output, options)


@clean_errors
def export(
    work: Annotated[Path, typer.Argument(help="Work folder of `annotate` or `make`.")],
    output: Annotated[Path, typer.Argument(help="New folder of triplets.")],
    accept_all: AcceptAll = False,
    licence: Licence = None,
    generator_licence: GeneratorLicences = None,
    people: People = False,
) -> None:
    """Write the accepted candidates of a work folder as triplets, with provenance, thresholds and a card."""
    from ...triplets.annotation import ExportOptions
    from ...triplets.engine import WorkFolder

    check_new_folder(output)
    if not (work / "plan.json").is_file():
        raise ValueError(f"`{work}` is no work folder: it has no `plan.json`. Pass the one of `annotate` or `make`.")
    options = ExportOptions(accept_all, licence, tuple(generator_licence or ()), people)
    export_folder(WorkFolder(work), output, options)


@clean_errors
def convert_keypoints(
    original: Annotated[Path, typer.Option(help="`vitpose+_*.pth` of ViTPose++'s authors.")],
    hub_folder: Annotated[Path, typer.Option("--hub-folder", help="`vitpose-plus-*` of the Hub, downloaded.")],
    output: Annotated[Path, typer.Option(help="New folder, for `--keypoints vitpose:FOLDER`.")],
    head: Annotated[str, typer.Option(help="ap10k: the animals'.")] = "ap10k",
) -> None:
    """Put the animals' head of an original ViTPose++ on the Hub's conversion, which has the human head alone.

    Refused unless the backbones agree bit by bit.
    """
    from ...vision.pose_conversion import convert_keypoints as convert

    count = convert(original, hub_folder, output, head)
    typer.echo(f"{output}: {count} tensors of the backbone agree; head {head}")
