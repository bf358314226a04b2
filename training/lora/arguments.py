"""Arguments of `train_relation_lora_sdxl.py`: the names of the diffusers examples, and ours beside them."""

import argparse
from dataclasses import dataclass, fields

from relationbooth_pipeline.relation_images import open_image
from relationbooth_pipeline.relation_regions import attention_grids
from relationbooth_pipeline.triplets import Triplet, refuse_swapped, repair_assignments
from relationbooth_pipeline.triplets.engine.plan import check_slots

from ..common.loop_arguments import (
    add,
    add_loop_options,
    add_report_options,
    check_numbers,
    free_on_resume,
    settle_with_launcher,
)
from ..common.options import (
    BaseOptions,
    LoopOptions,
    ReportOptions,
    TripletSource,
    ValidationOptions,
    ViewOptions,
)
from ..common.triplet_arguments import (
    TRIPLETS_FREE_ON_RESUME,
    add_base_options,
    add_triplet_options,
    add_validation_options,
    check_base_and_adapter,
    check_triplet_options,
    read_triplet_source,
)
from ..common.views import SIDE_MULTIPLE, bucket_size
from .loss_terms import LOSS_TERMS, LossSettings, wants_attention
from .results import layout_prior
from .step import LARGEST_ATTENTION_GRID

FREE_ON_RESUME = TRIPLETS_FREE_ON_RESUME | {"push_to_hub", "hub_model_id", "license", "relation", "template"}


@dataclass(frozen=True)
class AdapterOptions:
    """The frozen adapter; None: the base model's own, with its own encoders."""

    relation_adapter: str | None
    relation_adapter_weight_name: str | None
    image_encoder: str | None
    local_image_encoder: str | None


@dataclass(frozen=True)
class LoraOptions:
    """What the LoRA is, and what its header says beside what the triplets tell."""

    rank: int
    image_prompt_scale: float
    relation: str | None
    template: str | None


@dataclass(frozen=True)
class HubOptions:
    """Where the result goes, and under which licence. Without `license` the card says the base model's."""

    push_to_hub: bool
    hub_model_id: str | None
    hub_token: str | None
    license: str | None


@dataclass(frozen=True)
class RelationLoraOptions:
    """All that a run is told, by part."""

    base: BaseOptions
    adapter: AdapterOptions
    source: TripletSource
    fix_keypoints: bool
    views: ViewOptions
    lora: LoraOptions
    losses: LossSettings
    loop: LoopOptions
    report: ReportOptions
    validation: ValidationOptions
    hub: HubOptions


def build_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description="Train a RelationLoRA on a handful of triplets.")

    base = add_base_options(parser)
    add(base, "relation_adapter", help="folder or repository of the adapter; default: the base model's own")
    add(base, "relation_adapter_weight_name", help="MS-Diffusion's file there: ms_adapter.bin; default: our format")
    add(base, "image_encoder", help="CLIP vision model of the adapter; default: the adapter's own")
    add(base, "local_image_encoder", help="dense CLIP for local tokens; none: without; default: the adapter's own")

    data = add_triplet_options(parser, views_per_triplet=8)
    add(data, "fix_keypoints", bool, help="put clearly swapped keypoints in order instead of refusing them")

    method = parser.add_argument_group("method")
    add(method, "rank", int, 4, help="of the LoRA, on q, k, v and out of every text cross-attention")
    add(method, "image_prompt_scale", float, 0.6, help="gamma, how strongly image prompts act while the LoRA learns")
    for option in fields(LossSettings):
        kind = next(kind for kind in (float, int, str) if option.type in (kind, kind | None))
        add(method, option.name, kind, option.default, **option.metadata)
    add(method, "relation", help="name for the file's header; default: the predicate")
    add(method, "template", help="prompt for the header with {0}, {1}, … for phrases; default: from the triplets")

    add_loop_options(
        parser,
        output_dir="relation-lora",
        train_batch_size=8,
        num_train_epochs=None,
        max_train_steps=500,
        learning_rate=1e-4,
        lr_warmup_steps=0,
        adam_weight_decay=0.0,
        checkpointing_steps=100,
    )

    report = parser.add_argument_group("reports")
    add_validation_options(report, "LoRA")
    add_report_options(report, project="relation-lora")
    add(report, "push_to_hub", bool, help="upload the result; access is checked before training")
    add(report, "hub_model_id", help="repository to upload to; default: the output folder's name")
    add(report, "license", help="of the LoRA, for its card: apache-2.0, openrail++, …; default: the base model's own")
    return parser


def parse_arguments(arguments: list[str] | None = None) -> argparse.Namespace:
    """Parsed and checked, as far as that needs no file."""
    parser = build_parser()
    args = parser.parse_args(arguments)
    settle_with_launcher(parser, args)
    check_triplet_options(parser, args)
    if args.relation_adapter_weight_name is not None and args.relation_adapter is None:
        parser.error(
            f"`--relation_adapter_weight_name` {args.relation_adapter_weight_name!r} names a file in "
            "`--relation_adapter`, which is not given. Give it too, or leave the name out."
        )
    check_numbers(
        parser,
        args,
        at_least_one=("rank", "views_per_triplet", "num_validation_images"),
        not_negative=("image_prompt_scale", "kml_max_timestep", *(term.weight for term in LOSS_TERMS)),
        positive=("snr_gamma",),
    )
    if args.num_train_epochs is not None:
        args.max_train_steps = None
    return args


def may_differ(args: argparse.Namespace) -> set[str]:
    """Arguments that a resumed run may give differently."""
    return free_on_resume(args, FREE_ON_RESUME)


def load_triplets(run: RelationLoraOptions) -> list[Triplet]:
    """The triplets, every fault reported at once; clearly swapped keypoints are refused or put in order."""
    folder, triplets = read_triplet_source(run.source, run.validation)
    if run.fix_keypoints:
        return repair_assignments(triplets)
    refuse_swapped(
        triplets,
        f"Look at `relationbooth triplets check {folder}`, then repair them with its `--fix`, or pass "
        "`--fix_keypoints`.",
    )
    return triplets


def check_before_loading(run: RelationLoraOptions, triplets: list[Triplet]) -> None:
    """`check_base_and_adapter`, the template's slots, and that the losses find what they read; MS-Diffusion's file has
    no config to check.

    Raises:
        ValueError: the template has other slots than the triplets have objects; or a loss wants the text attention of
            coarse grids, and a triplet's views have none.
    """
    if run.lora.template is not None:
        check_slots("--template", run.lora.template, len(layout_prior(triplets)))
    adapter = run.adapter
    unet = check_base_and_adapter(
        run.base, adapter.relation_adapter if adapter.relation_adapter_weight_name is None else None
    )
    if not wants_attention(run.losses):
        return
    levels = len(unet["block_out_channels"])
    for triplet in triplets:
        width, height = bucket_size(*open_image(triplet.image).size, run.views.resolution)
        rows, columns = attention_grids(height // SIDE_MULTIPLE, width // SIDE_MULTIPLE, levels)[-1]
        if rows * columns > LARGEST_ATTENTION_GRID:
            raise ValueError(
                f"`--predicate_attention_weight` reads attention on grids of at most {LARGEST_ATTENTION_GRID} "
                f"positions; at `--resolution` {run.views.resolution} the coarsest of {triplet.name} has {rows} × "
                f"{columns}. Lower `--resolution`, or set the weight to 0."
            )
