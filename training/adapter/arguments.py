"""Arguments of `train_relation_adapter_sdxl.py`: the names of the diffusers examples, and ours beside them."""

import argparse
import inspect
from dataclasses import dataclass
from types import SimpleNamespace

import torch
from transformers import CLIPTextConfig, CLIPVisionConfig

from relationbooth_pipeline import RelationAdapter
from relationbooth_pipeline.relation_resampler import LOCAL_INJECTIONS, LocalTokenResampler

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
)
from .step import Dropouts

FREE_ON_RESUME = TRIPLETS_FREE_ON_RESUME | {"encodings_dir"}
RESAMPLER_SIZES = ("dim", "depth", "heads", "dim_head", "num_queries")
NEW_ADAPTER = {  # option → what its help says
    "image_prompt_size": "image prompts are squashed to this square first; pixels",
    "local_grid": "k, for k·k local tokens per object",
    "local_image_size": "input side of the local image encoder; pixels",
    "local_injection": "how local tokens join the image tokens",
    "resampler_dim": "width of the resampler",
    "resampler_depth": "its layers",
    "resampler_heads": "attention heads of a layer",
    "resampler_dim_head": "width of a head",
    "resampler_num_queries": "tokens per object",
}
ADAPTER_FIELDS = ("image_prompt_size", "local_grid", "local_image_size")
LOCAL_OPTIONS = ("local_grid", "local_image_size", "local_injection")


@dataclass(frozen=True)
class StartOptions:
    """Where training starts: from an adapter, or from a new one on these encoders; "none": without local tokens."""

    relation_adapter: str | None
    image_encoder: str | None
    local_image_encoder: str | None


@dataclass(frozen=True)
class NewAdapterOptions:
    """Shape of a new adapter; None: as in the released ones."""

    image_prompt_size: int | None
    local_grid: int | None
    local_image_size: int | None
    local_injection: str | None
    resampler_dim: int | None
    resampler_depth: int | None
    resampler_heads: int | None
    resampler_dim_head: int | None
    resampler_num_queries: int | None


@dataclass(frozen=True)
class DropoutOptions:
    """See `Dropouts`."""

    image_dropout: float
    text_dropout: float
    both_dropout: float
    grounding_dropout: float

    def dropouts(self) -> Dropouts:
        return Dropouts(self.image_dropout, self.text_dropout, self.both_dropout, self.grounding_dropout)


@dataclass(frozen=True)
class RelationAdapterOptions:
    """All that a run is told, by part."""

    base: BaseOptions
    start: StartOptions
    new: NewAdapterOptions
    source: TripletSource
    views: ViewOptions
    encodings_dir: str | None
    dropout: DropoutOptions
    snr_gamma: float | None
    loop: LoopOptions
    report: ReportOptions
    validation: ValidationOptions


def build_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description="Train a RelationAdapter: resampler and image K/V on a frozen SDXL UNet."
    )
    base = add_base_options(parser)
    add(base, "relation_adapter", help="start from this adapter, folder or repository; default: from a new one")
    add(base, "image_encoder", help="CLIP vision model; default: that of relation_adapter")
    add(base, "local_image_encoder", help="dense CLIP for local tokens; none: without; default: of relation_adapter")

    new = parser.add_argument_group("a new adapter; what is left out is as in the released ones")
    for name, what in NEW_ADAPTER.items():
        owner = RelationAdapter if name in ADAPTER_FIELDS else LocalTokenResampler
        released = inspect.signature(owner.__init__).parameters[name.removeprefix("resampler_")].default
        more = {"choices": LOCAL_INJECTIONS} if name == "local_injection" else {}
        add(new, name, str if more else int, help=f"{what}; default: {released}", **more)

    data = add_triplet_options(parser, views_per_triplet=1)
    add(data, "encodings_dir", help="keep what frozen models answer in this folder; default: ask them at every step")

    method = parser.add_argument_group("method")
    for name, what in (
        ("image", "image prompts become zeros"),
        ("text", "the text becomes zeros"),
        ("both", "both become zeros"),
        ("grounding", "learned queries replace phrase and box"),
    ):
        add(method, f"{name}_dropout", float, getattr(Dropouts(), name), help=f"share of samples in which {what}")
    add(method, "snr_gamma", float, help="min-SNR weights for the denoising loss; 5.0 is usual; default: all ones")

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
    settle_with_launcher(parser, args)
    check_triplet_options(parser, args)
    new = tuple(NEW_ADAPTER)
    check_numbers(
        parser,
        args,
        at_least_one=("views_per_triplet", "num_validation_images", *(n for n in new if n != "local_injection")),
        positive=("snr_gamma",),
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


def may_differ(args: argparse.Namespace) -> set[str]:
    """Arguments that a resumed run may give differently."""
    return free_on_resume(args, FREE_ON_RESUME)


def adapter_config(new: NewAdapterOptions, image_width: int, local_width: int | None) -> tuple[dict, dict]:
    """Fields of a new adapter that the options give: (of its resampler, of itself).

    Args:
        image_width, local_width: of the encoders' tokens; None: no local tokens.
    """
    sizes = {size: getattr(new, f"resampler_{size}") for size in RESAMPLER_SIZES}
    resampler = {**sizes, "local_injection": new.local_injection}
    if local_width not in (None, image_width):
        resampler["local_embedding_dim"] = local_width
    fields = {name: getattr(new, name) for name in ADAPTER_FIELDS}
    if local_width is None:
        fields["local_grid"] = 0
    return tuple({name: value for name, value in part.items() if value is not None} for part in (resampler, fields))


def check_before_loading(run: RelationAdapterOptions) -> None:
    """What configs alone can tell: base, encoders and adapter fit together, the scheduler is one we can train on.

    Raises:
        ValueError: with what to use instead.
    """
    unet = check_base_and_adapter(run.base, run.start.relation_adapter)
    if run.start.relation_adapter is not None:
        return  # its encoders are looked for, and checked, when it loads
    place = {**run.base.hub, "revision": run.base.revision}
    text = CLIPTextConfig.from_pretrained(run.base.pretrained_model_name_or_path, subfolder="text_encoder", **place)
    encoders = {}
    for name in ("image_encoder", "local_image_encoder"):
        source = getattr(run.start, name)
        try:
            encoders[name] = None if source == "none" else CLIPVisionConfig.from_pretrained(source, **run.base.hub)
        except OSError as error:
            raise ValueError(f"`--{name}` must be a CLIP folder or repository, got `{source}`: {error}") from error
    image, local = encoders.values()
    resampler, fields = adapter_config(run.new, image.hidden_size, None if local is None else local.hidden_size)
    widths = {"embedding_dim": image.hidden_size, "output_dim": unet["cross_attention_dim"]}
    with torch.device("meta"):
        adapter = RelationAdapter(
            {**widths, "phrase_embeddings_dim": text.hidden_size, **resampler}, layer_widths={}, **fields
        )
    adapter.check_encoders(*(config and SimpleNamespace(config=config) for config in (image, local)))
