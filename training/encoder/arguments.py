"""Arguments of `train_local_image_encoder.py`, and what a model's config tells about them before it is loaded."""

import argparse
from dataclasses import dataclass

from transformers import CLIPVisionConfig, PreTrainedConfig

from ..common.digests import model_facts
from ..common.loop_arguments import (
    LOOP_FREE_ON_RESUME,
    add,
    add_loop_options,
    add_report_options,
    check_numbers,
    free_on_resume,
    settle_with_launcher,
)
from ..common.options import LoopOptions, ReportOptions
from .crop_sources import PictureOptions
from .distillation import MAX_CROPS, MAX_SPLIT

MODEL_TYPES = ("clip", "clip_vision_model")
FREE_ON_RESUME = LOOP_FREE_ON_RESUME | {"original_share", "dataloader_num_workers"}


@dataclass(frozen=True)
class TowerOptions:
    """The vision tower that teaches and learns."""

    pretrained_model_name_or_path: str
    subfolder: str
    revision: str | None
    cache_dir: str | None

    @property
    def place(self) -> dict[str, str | None]:
        """Where in the repository, and which state of it: arguments of `from_pretrained`."""
        return {"subfolder": self.subfolder, "revision": self.revision, "cache_dir": self.cache_dir}


@dataclass(frozen=True)
class DistillationOptions:
    """CLIPSelf's settings.

    Attributes:
        image_scale: side of the student's input, in native sides.
        max_split: most rows and columns of the grid a picture is cut in. max_crops: of a picture that count.
        trainable_blocks: so many last blocks train; None: all.
        original_share: of the original weights in the result, in [0, 1).
    """

    image_scale: int
    max_split: int
    max_crops: int
    trainable_blocks: int | None
    original_share: float


@dataclass(frozen=True)
class LocalEncoderOptions:
    """All that a run is told, by part."""

    tower: TowerOptions
    pictures: PictureOptions
    method: DistillationOptions
    dataloader_num_workers: int
    loop: LoopOptions
    report: ReportOptions


def build_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description="Teach a CLIP vision tower to see a place of a picture as it sees its crop (CLIPSelf).",
    )
    base = parser.add_argument_group("vision tower")
    add(base, "pretrained_model_name_or_path", required=True, help="CLIP model or CLIP vision model, folder or Hub")
    add(base, "subfolder", default="", help="of the repository or folder; default: its top")
    add(base, "revision", help="branch, tag or commit of the repository; default: its main branch")
    add(base, "cache_dir", help="of what is downloaded; default: the Hub's own")

    data = parser.add_argument_group("pictures, of one of three sources")
    add(data, "train_data_dir", help="folder of pictures, searched through")
    add(data, "dataset_name", help="dataset on the Hub or in a folder, read by `datasets`")
    add(data, "webdataset_urls", nargs="+", help="tar shards, addresses or paths, in WebDataset's layout")
    add(data, "dataset_split", default="train", help="of dataset_name")
    add(data, "image_column", help="default: the only column of pictures")
    add(data, "streaming", bool, help="read dataset_name while training, without storing it")
    add(data, "shuffle_buffer", int, 1000, help="undecoded pictures that a stream is shuffled through; 0: in its order")
    add(data, "dataloader_num_workers", int, 0, help="processes that prepare pictures; of a stream at most one")

    method = parser.add_argument_group("method")
    add(method, "image_scale", int, 4, help="side of the student's input, in native sides")
    add(method, "max_split", int, MAX_SPLIT, help="most rows and columns of the grid a picture is cut in")
    add(method, "max_crops", int, MAX_CROPS, help="crops of a picture that count, at most")
    add(method, "trainable_blocks", int, help="so many last transformer blocks train; default: all")
    add(method, "original_share", float, 0.05, help="of the original weights in the result; the student has the rest")

    add_loop_options(
        parser,
        output_dir="local-image-encoder",
        train_batch_size=2,  # pictures; the paper's, on each of 8 GPUs
        num_train_epochs=6,  # of COCO train2017 in the paper, A.1
        max_train_steps=None,
        learning_rate=1e-5,
        lr_warmup_steps=0,
        adam_weight_decay=0.1,
        checkpointing_steps=1000,
    )
    add_report_options(parser.add_argument_group("reports"), project="local-image-encoder")
    return parser


def parse_arguments(arguments: list[str] | None = None) -> argparse.Namespace:
    """Parsed and checked, as far as that needs no file."""
    parser = build_parser()
    args = parser.parse_args(arguments)
    settle_with_launcher(parser, args)
    given = [name for name in ("train_data_dir", "dataset_name", "webdataset_urls") if getattr(args, name) is not None]
    if len(given) != 1:
        parser.error(
            "exactly one of `--train_data_dir`, `--dataset_name` and `--webdataset_urls` must be given, got "
            f"{', '.join(given) or 'none'}."
        )
    if args.streaming and args.dataset_name is None:
        parser.error("`--streaming` belongs to `--dataset_name`; shards are always streamed, a folder never.")
    check_numbers(
        parser,
        args,
        at_least_one=("image_scale", "max_split", "max_crops", "trainable_blocks"),
        not_negative=("shuffle_buffer", "dataloader_num_workers"),
    )
    if not 0 <= args.original_share < 1:
        parser.error(f"`--original_share` must be in [0, 1), got {args.original_share}.")
    streamed = args.streaming or args.webdataset_urls is not None
    if streamed and args.max_train_steps is None:
        parser.error("a stream's length is unknown: `--max_train_steps` must be given with it.")
    if streamed and args.dataloader_num_workers > 1:
        parser.error(f"`--dataloader_num_workers` must be 0 or 1 for a stream, got {args.dataloader_num_workers}.")
    return args


def may_differ(args: argparse.Namespace) -> set[str]:
    """Arguments that a resumed run may give differently."""
    return free_on_resume(args, FREE_ON_RESUME)


def tower_facts(tower: TowerOptions) -> dict[str, str]:
    """What a run notes of a tower that lies on this machine."""
    return model_facts({"pretrained_model_name_or_path": (tower.pretrained_model_name_or_path, (tower.subfolder,))})


def vision_config(tower: TowerOptions, method: DistillationOptions) -> CLIPVisionConfig:
    """The tower's config, read without its weights.

    Raises:
        ValueError: there is none, it is no CLIP vision tower's, or the options do not fit it.
    """
    source = tower.pretrained_model_name_or_path
    try:
        kind = PreTrainedConfig.get_config_dict(source, **tower.place)[0].get("model_type")
        if kind in MODEL_TYPES:
            config = CLIPVisionConfig.from_pretrained(source, **tower.place)
    except OSError as error:
        raise ValueError(
            f"`--pretrained_model_name_or_path` must be a CLIP folder or repository, got `{source}`: {error}"
        ) from error
    if kind not in MODEL_TYPES:
        raise ValueError(
            f"`--pretrained_model_name_or_path` must be a CLIP folder or repository (`model_type` "
            f"{' or '.join(MODEL_TYPES)} in its config.json), got `{source}` with {kind!r}. `relationbooth convert` "
            "makes one of an open_clip checkpoint."
        )
    depth = config.num_hidden_layers
    if method.trainable_blocks is not None and method.trainable_blocks > depth:
        raise ValueError(f"`--trainable_blocks` must be at most {depth}, the tower's, got {method.trainable_blocks}.")
    side = config.image_size * method.image_scale
    if side % config.patch_size:
        raise ValueError(
            f"`--image_scale` {method.image_scale} times the native size {config.image_size} must be a multiple of the "
            f"patch size {config.patch_size}, got {side}."
        )
    if side // config.patch_size < method.max_split:
        raise ValueError(
            f"`--max_split` must be at most {side // config.patch_size}, the patches along a side of the student's "
            f"input, got {method.max_split}. Raise `--image_scale`."
        )
    return config
