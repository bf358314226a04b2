"""Arguments of `train_relation_lora_sdxl.py`: the names of the diffusers examples, and ours beside them."""

import argparse

from relationbooth_pipeline.triplets import Triplet, refuse_swapped, repair_assignments

from ..common.loop_arguments import add, add_loop_options, add_report_options, check_numbers
from ..common.triplet_arguments import (
    TRIPLETS_FREE_ON_RESUME,
    add_base_options,
    add_triplet_options,
    add_validation_options,
    check_base_and_adapter,
    check_triplet_options,
    read_triplet_source,
)

FREE_ON_RESUME = TRIPLETS_FREE_ON_RESUME | {"push_to_hub", "hub_model_id", "relation", "template"}


def build_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description="Train a RelationLoRA on a handful of triplets.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )

    base = add_base_options(parser)
    add(base, "relation_adapter", help="folder or repository of the adapter; default: the base model's own")
    add(base, "relation_adapter_weight_name", help="MS-Diffusion's file there: ms_adapter.bin")
    add(base, "image_encoder", help="CLIP vision model of the adapter; default: the adapter's own")
    add(base, "local_image_encoder", help="dense CLIP for local tokens; none: without; default: the adapter's own")

    data = add_triplet_options(parser, views_per_triplet=8)
    add(data, "fix_keypoints", bool, help="put clearly swapped keypoints in order instead of refusing them")

    method = parser.add_argument_group("method")
    add(method, "rank", int, 4)
    add(method, "image_prompt_scale", float, 0.6, "γ")
    add(method, "kml_weight", float, 1e-3, "λ of the keypoint matching loss; 0: off")
    add(method, "kml_max_timestep", int, help="KML up to this timestep only; the released code's 333. Default: all")
    add(method, "predicate_attention_weight", float, 0.0, "of the predicate attention loss; the released code's 1e-3")
    add(method, "snr_gamma", float, help="min-SNR weights for the denoising loss; 5.0 is usual")
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
    add(report, "push_to_hub", bool)
    add(report, "hub_model_id", help="repository; default: the output folder's name")
    return parser


def parse_arguments(arguments: list[str] | None = None) -> argparse.Namespace:
    """Parsed and checked, as far as that needs no file."""
    parser = build_parser()
    args = parser.parse_args(arguments)

    check_triplet_options(parser, args)
    check_numbers(
        parser,
        args,
        at_least_one=("rank", "views_per_triplet", "num_validation_images"),
        not_negative=("kml_weight", "predicate_attention_weight", "image_prompt_scale"),
    )
    return args


def load_triplets(args) -> list[Triplet]:
    """The triplets, every fault reported at once; clearly swapped keypoints are refused or put in order."""
    folder, triplets = read_triplet_source(args)
    if args.fix_keypoints:
        return repair_assignments(triplets)
    refuse_swapped(
        triplets,
        f"Look at `relationbooth triplets check {folder}`, then repair them with its `--fix`, or pass "
        "`--fix_keypoints`.",
    )
    return triplets


def check_before_loading(args) -> None:
    """`check_base_and_adapter`; MS-Diffusion's file has no config to check."""
    check_base_and_adapter(args, args.relation_adapter is not None and args.relation_adapter_weight_name is None)
