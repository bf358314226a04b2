"""Arguments of `train_relation_adapter_sdxl.py`: the names of the diffusers examples, and ours beside them."""

import argparse
from types import SimpleNamespace

import torch
from diffusers import UNet2DConditionModel
from transformers import CLIPTextConfig, CLIPVisionConfig

from relationbooth_pipeline import RelationAdapter
from relationbooth_pipeline.relation_loaders import check_widths
from relationbooth_pipeline.relation_resampler import LOCAL_INJECTIONS

from ..common.loop_arguments import add, add_loop_options, add_report_options, check_numbers
from ..common.triplet_arguments import (
    TRIPLETS_FREE_ON_RESUME,
    add_base_options,
    add_triplet_options,
    add_validation_options,
    check_base_and_adapter,
    check_triplet_options,
)
from .step import Dropouts

FREE_ON_RESUME = TRIPLETS_FREE_ON_RESUME | {"encodings_dir"}
RESAMPLER_SIZES = ("dim", "depth", "heads", "dim_head", "num_queries")
ADAPTER_FIELDS = ("image_prompt_size", "local_grid", "local_image_size")
LOCAL_OPTIONS = ("local_grid", "local_image_size", "local_injection")


def build_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description="Train a RelationAdapter: resampler and image K/V on a frozen SDXL UNet.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    base = add_base_options(parser)
    add(base, "relation_adapter", help="start from this adapter, folder or repository; default: from a new one")
    add(base, "image_encoder", help="CLIP vision model; default: that of relation_adapter")
    add(base, "local_image_encoder", help="dense CLIP for local tokens; none: without; default: of relation_adapter")

    new = parser.add_argument_group("a new adapter; what is left out is as in the released ones")
    add(new, "image_prompt_size", int, help="image prompts are squashed to this square first; pixels")
    add(new, "local_grid", int, help="k; k·k local tokens per object")
    add(new, "local_image_size", int, help="input side of the local image encoder; pixels")
    add(new, "local_injection", choices=LOCAL_INJECTIONS, help="how local tokens join the image tokens")
    for size in RESAMPLER_SIZES:
        add(new, f"resampler_{size}", int, help="tokens per object" if size == "num_queries" else "")

    data = add_triplet_options(parser, views_per_triplet=1)
    add(data, "encodings_dir", help="keep what frozen models answer in this folder; default: ask them at every step")

    method = parser.add_argument_group("method")
    for name, what in (
        ("image", "image prompts become zeros"),
        ("text", "the text becomes zeros"),
        ("both", "both become zeros"),
        ("grounding", "learned queries replace phrase and box"),
    ):
        add(method, f"{name}_dropout", float, getattr(Dropouts(), name), f"share of samples in which {what}")
    add(method, "snr_gamma", float, help="min-SNR weights for the denoising loss; 5.0 is usual")

    add_loop_options(
        parser,
        output_dir="relation-adapter",
        train_batch_size=8,  # with learning rate and decay, MS-Diffusion's training script
        num_train_epochs=100,
        max_train_steps=None,
        learning_rate=1e-4,
        lr_warmup_steps=0,
        adam_weight_decay=0.01,
        checkpointing_steps=1000,
    )
    report = parser.add_argument_group("reports")
    add_validation_options(report, "image prompts")
    add_report_options(report, project="relation-adapter")
    return parser


def parse_arguments(arguments: list[str] | None = None) -> argparse.Namespace:
    """Parsed and checked, as far as that needs no file."""
    parser = build_parser()
    args = parser.parse_args(arguments)
    check_triplet_options(parser, args)
    new = (*ADAPTER_FIELDS, "local_injection", *(f"resampler_{size}" for size in RESAMPLER_SIZES))
    check_numbers(
        parser,
        args,
        at_least_one=("views_per_triplet", "num_validation_images", *(n for n in new if n != "local_injection")),
        not_negative=("adam_weight_decay",),
    )
    if args.relation_adapter is None:
        for name, off in (("image_encoder", ""), ("local_image_encoder", ", or none to do without local tokens")):
            if getattr(args, name) is None:
                parser.error(f"`--{name}` must name a folder or repository for a new adapter{off}.")
    elif given := [name for name in new if getattr(args, name) is not None]:
        parser.error(f"`--{given[0]}` belongs to a new adapter, `--relation_adapter` brings its own. Leave one out.")
    if args.local_image_encoder == "none" and (given := [n for n in LOCAL_OPTIONS if getattr(args, n) is not None]):
        parser.error(f"`--{given[0]}` needs local tokens, got `--local_image_encoder none`. Leave one out.")
    shares = [args.image_dropout, args.text_dropout, args.both_dropout]
    if min(*shares, args.grounding_dropout) < 0 or args.grounding_dropout > 1 or sum(shares) > 1:
        parser.error(
            "`--image_dropout`, `--text_dropout` and `--both_dropout` must not be negative and sum to at most 1, and "
            f"`--grounding_dropout` must be in [0, 1], got {shares} and {args.grounding_dropout}."
        )
    return args


def dropouts(args) -> Dropouts:
    return Dropouts(args.image_dropout, args.text_dropout, args.both_dropout, args.grounding_dropout)


def adapter_config(args, image_width: int, local_width: int | None) -> tuple[dict, dict]:
    """Fields of a new adapter that the arguments give: (of its resampler, of itself).

    Args:
        image_width, local_width: of the encoders' tokens; None: no local tokens.
    """
    sizes = {size: getattr(args, f"resampler_{size}") for size in RESAMPLER_SIZES}
    resampler = {**sizes, "local_injection": args.local_injection}
    if local_width not in (None, image_width):
        resampler["local_embedding_dim"] = local_width
    fields = {name: getattr(args, name) for name in ADAPTER_FIELDS}
    if local_width is None:
        fields["local_grid"] = 0
    return tuple({name: value for name, value in part.items() if value is not None} for part in (resampler, fields))


def check_before_loading(args) -> None:
    """What configs alone can tell: base, encoders and adapter fit together, the scheduler is one we can train on.

    Raises:
        ValueError: with what to use instead.
    """
    check_base_and_adapter(args, args.relation_adapter is not None)
    if args.relation_adapter is not None:
        return  # its encoders are looked for, and checked, when it loads
    hub = {"cache_dir": args.cache_dir, "token": args.hub_token}
    base, place = args.pretrained_model_name_or_path, {**hub, "revision": args.revision}
    unet = UNet2DConditionModel.load_config(base, subfolder="unet", **place)
    text = CLIPTextConfig.from_pretrained(base, subfolder="text_encoder", **place)
    encoders = {}
    for name in ("image_encoder", "local_image_encoder"):
        source = getattr(args, name)
        try:
            encoders[name] = None if source == "none" else CLIPVisionConfig.from_pretrained(source, **hub)
        except OSError as error:
            raise ValueError(f"`--{name}` must be a CLIP folder or repository, got `{source}`: {error}") from error
    image, local = encoders.values()
    resampler, fields = adapter_config(args, image.hidden_size, None if local is None else local.hidden_size)
    widths = {"embedding_dim": image.hidden_size, "output_dim": unet["cross_attention_dim"]}
    with torch.device("meta"):
        adapter = RelationAdapter(
            {**widths, "phrase_embeddings_dim": text.hidden_size, **resampler}, layer_widths={}, **fields
        )
    check_widths(adapter, *(config and SimpleNamespace(config=config) for config in (image, local)))
