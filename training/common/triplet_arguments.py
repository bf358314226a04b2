"""Command-line options, and what is checked before any model loads, of the programs that train SDXL on triplets."""

import argparse
import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from diffusers import DDPMScheduler, UNet2DConditionModel
from huggingface_hub import snapshot_download

from relationbooth_pipeline import RelationAdapter
from relationbooth_pipeline.relation_images import open_image
from relationbooth_pipeline.relation_layouts import missing_phrases
from relationbooth_pipeline.triplets import Triplet, read_triplets

from ..common.diffusion import training_scheduler
from .digests import contents_digest, model_facts
from .frozen_models import check_vae_file
from .loop_arguments import LOOP_FREE_ON_RESUME, add
from .made_for import BASE
from .options import BaseOptions, TripletSource, ValidationOptions

TRIPLETS_FREE_ON_RESUME = LOOP_FREE_ON_RESUME | {
    "hub_token", "validation_prompt", "validation_images", "validation_phrases", "num_validation_images",
    "validation_guidance_scale", "validation_steps",
}  # fmt: skip
ADAPTER_PARTS = ("", "image_encoder", "local_image_encoder")  # of an adapter's folder
# Where a base model keeps an adapter of its own: as such a folder, or as components of a saved pipeline.
OWN_ADAPTER_PARTS = (*(f"relation_adapter/{part}" for part in ADAPTER_PARTS), "image_prompt_encoder",
                     "local_image_encoder")  # fmt: skip


def add_base_options(parser: argparse.ArgumentParser) -> argparse._ArgumentGroup:
    """The group "base model and adapter", returned to add to."""
    base = parser.add_argument_group("base model and adapter")
    add(base, "pretrained_model_name_or_path", required=True, help="SDXL folder or Hub repository")
    add(base, "pretrained_vae_model_name_or_path", help="a better VAE, e.g. madebyollin/sdxl-vae-fp16-fix: folder, Hub "
        "repository or .safetensors file; default: the base model's own")  # fmt: skip
    add(base, "revision", help="branch, tag or commit of the base model's repository; default: its main branch")
    add(base, "variant", help="fp16, for repositories that hold such files")
    add(base, "cache_dir", help="of what is downloaded; default: the Hub's own")
    add(base, "hub_token", help="for private or gated repositories; default: that of `hf auth login`")
    return base


def add_triplet_options(parser: argparse.ArgumentParser, views_per_triplet: int) -> argparse._ArgumentGroup:
    """The group "triplets", returned to add to; `views_per_triplet` is the option's default."""
    data = parser.add_argument_group("triplets")
    add(data, "train_data_dir", help="folder of triplets; `relationbooth triplets check` it first")
    add(data, "dataset_name", help="Hub dataset that holds such a folder, instead")
    add(data, "predicate", help="the relation's words, for triplets that name none; default: told by the sentence")
    add(data, "resolution", int, 1024, help="side of the square whose area every view has; pixels")
    add(data, "views_per_triplet", int, views_per_triplet, help="random crops encoded of each triplet")
    add(data, "largest_zoom", float, 1.15, help="of a random crop, at least 1")
    add(data, "center_crop", bool, help="no random crops")
    add(data, "random_flip", bool, help="mirror half of the views; not for relations that tell left from right")
    return data


def add_validation_options(report: argparse._ArgumentGroup, trained: str) -> None:
    """Options of the pictures drawn on the way, with and without `trained`."""
    add(report, "validation_prompt", help=f"draw it with and without the {trained}, from the same seeds")
    add(report, "validation_images", nargs="+", help="image prompts for it; default: those of the first triplet")
    add(report, "validation_phrases", nargs="+", help="their phrases; default: those of the first triplet")
    add(report, "num_validation_images", int, 4, help="pictures each time, of seeds that follow one another")
    add(report, "validation_guidance_scale", float, 5.0, help="of these pictures")
    add(report, "validation_steps", int, help="every so many steps; default: at the end only")


def check_triplet_options(parser: argparse.ArgumentParser, args: argparse.Namespace) -> None:
    """Stop with a message unless the options above make sense together, as far as that needs no file."""

    def must(holds: bool, message: str):
        if not holds:
            parser.error(message)

    must(
        (args.train_data_dir is None) != (args.dataset_name is None),
        "exactly one of `--train_data_dir` and `--dataset_name` must be given.",
    )
    must(
        not (args.report_to == "wandb" and args.hub_token),
        "`--hub_token` would be sent to wandb with the arguments. Use `hf auth login` instead of it.",
    )
    must(args.resolution % 8 == 0 and args.resolution >= 64, f"`--resolution` must be a multiple of 8, at least 64, "
         f"got {args.resolution}.")  # fmt: skip
    must(args.validation_steps is None or args.validation_steps >= 1, f"`--validation_steps` must be at least 1, got "
         f"{args.validation_steps}. Leave it out for pictures at the end only.")  # fmt: skip
    must(args.largest_zoom >= 1, f"`--largest_zoom` must be at least 1, got {args.largest_zoom}.")
    must(
        args.validation_prompt is not None or not (args.validation_images or args.validation_phrases),
        "`--validation_images` and `--validation_phrases` need `--validation_prompt`.",
    )
    given = [len(args.validation_images or []), len(args.validation_phrases or [])]
    must(given[0] == given[1], f"`--validation_images` and `--validation_phrases` must be as many, got {given}.")


def read_triplet_source(source: TripletSource, validation: ValidationOptions) -> tuple[str, list[Triplet]]:
    """(folder, its triplets), every fault reported at once.

    Raises:
        ValueError: a fault, a validation prompt that does not name its image prompts, or one of these that is no
            readable picture.
    """
    for file in validation.validation_images or []:
        try:
            open_image(file)
        except ValueError as error:
            raise ValueError(f"`--validation_images` must be readable pictures: {error}") from error
    folder = source.train_data_dir
    if source.dataset_name is not None:
        folder = source.dataset_name
        if not Path(folder).is_dir():
            folder = snapshot_download(folder, repo_type="dataset", cache_dir=source.cache_dir, token=source.hub_token)
    triplets = read_triplets(folder, source.predicate)
    phrases, prompt = validation.validation_phrases or triplets[0].phrases, validation.validation_prompt
    if prompt is not None and (absent := missing_phrases(phrases, prompt)):
        raise ValueError(
            f"`--validation_prompt` {validation.validation_prompt!r} must name {', '.join(absent)}: its image prompts "
            "show them. Those of the first triplet are used; `--validation_images` and `--validation_phrases` give "
            "others."
        )
    return folder, triplets


def triplet_facts(triplets: list[Triplet]) -> dict[str, Any]:
    """What a run notes of its triplets: how many, a digest of all they say, pictures by their files' names, and one of
    the contents of pictures, image prompts and masks."""

    def plain(value: torch.Tensor | Path) -> list | str:
        return value.tolist() if isinstance(value, torch.Tensor) else value.name

    said = json.dumps([asdict(triplet) for triplet in triplets], default=plain)
    return {
        "triplet_count": len(triplets),
        "triplet_digest": hashlib.sha256(said.encode()).hexdigest()[:12],
        "picture_digest": contents_digest(file for triplet in triplets for file in triplet.files),
    }


def base_and_adapter_facts(base: BaseOptions, adapter: Mapping[str, str | None], own_adapter: bool) -> dict[str, str]:
    """What a run notes of its frozen models, and of those that it starts from: `model_facts`.

    Args:
        adapter: options by name: `relation_adapter`, perhaps with its `relation_adapter_weight_name`, and encoders.
        own_adapter: without `--relation_adapter` the base model's own is read.
    """
    source, weight_name = adapter["relation_adapter"], adapter.get("relation_adapter_weight_name")
    if source is not None and weight_name is not None:
        source = Path(source) / weight_name
    own = OWN_ADAPTER_PARTS if own_adapter and source is None else ()
    return model_facts(
        {
            "pretrained_model_name_or_path": (base.pretrained_model_name_or_path, (*BASE, "vae", *own)),
            "pretrained_vae_model_name_or_path": (base.pretrained_vae_model_name_or_path, ("",)),
            "relation_adapter": (source, ADAPTER_PARTS),
            "image_encoder": (adapter["image_encoder"], ("",)),
            "local_image_encoder": (adapter["local_image_encoder"], ("",)),
        }
    )


def check_base_and_adapter(base: BaseOptions, relation_adapter: str | None) -> dict:
    """What configs alone can tell: base and adapter fit together, the scheduler is one we can train on.

    Args:
        relation_adapter: folder or repository of an adapter in our format; None: nothing is compared.
    Returns:
        The UNet's config.
    Raises:
        ValueError: with what to use instead.
    """
    source, place = base.pretrained_model_name_or_path, {"revision": base.revision, **base.hub}
    if Path(source).is_file():
        raise ValueError(
            f"`--pretrained_model_name_or_path` must be a folder or a Hub repository, got the file `{source}`. Turn it "
            "into a folder: `StableDiffusionXLPipeline.from_single_file(FILE).save_pretrained(FOLDER)`."
        )
    try:
        unet = UNet2DConditionModel.load_config(source, subfolder="unet", **place)
        scheduler = DDPMScheduler.load_config(source, subfolder="scheduler", **place)
    except OSError as error:
        raise ValueError(
            f"`--pretrained_model_name_or_path` must be an SDXL folder or repository, got `{source}`: {error}"
        ) from error
    if unet.get("addition_embed_type") != "text_time":
        raise ValueError(
            f"`--pretrained_model_name_or_path` must be an SDXL model, got one with `addition_embed_type` "
            f"{unet.get('addition_embed_type')!r}."
        )
    training_scheduler(scheduler)
    check_vae_file(base)
    if relation_adapter is not None:
        config = RelationAdapter.load_config(relation_adapter, **base.hub)
        found, expected = config["resampler_config"]["output_dim"], unet["cross_attention_dim"]
        if found != expected:
            raise ValueError(
                f"`--relation_adapter` must be made for `cross_attention_dim` {expected}, the base model's; this one "
                f"was made for {found}."
            )
    return unet
