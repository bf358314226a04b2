"""Arguments of `train_relation_lora_sdxl.py`: the names of the diffusers examples, and ours beside them."""

import argparse
from pathlib import Path

from diffusers import DDPMScheduler, UNet2DConditionModel
from huggingface_hub import snapshot_download

from relationbooth_pipeline import RelationAdapter
from relationbooth_pipeline.triplet_keypoints import check_assignments, repair_assignments
from relationbooth_pipeline.triplets import Triplet, read_triplets

from .relation_step import training_scheduler
from .run_arguments import LOOP_FREE_ON_RESUME, add, add_loop_options, add_report_options, check_numbers

FREE_ON_RESUME = LOOP_FREE_ON_RESUME | {
    "push_to_hub", "hub_token", "hub_model_id", "validation_prompt", "validation_images", "validation_phrases",
    "num_validation_images", "validation_guidance_scale", "validation_steps", "relation", "template",
}  # fmt: skip


def build_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description="Train a RelationLoRA on a handful of triplets.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )

    base = parser.add_argument_group("base model and adapter")
    add(base, "pretrained_model_name_or_path", required=True, help="SDXL folder or Hub repository")
    add(base, "pretrained_vae_model_name_or_path", help="a better VAE, e.g. madebyollin/sdxl-vae-fp16-fix")
    add(base, "revision")
    add(base, "variant", help="fp16, for repositories that hold such files")
    add(base, "cache_dir")
    add(base, "relation_adapter", help="folder or repository of the adapter; default: the base model's own")
    add(base, "relation_adapter_weight_name", help="MS-Diffusion's file there: ms_adapter.bin")
    add(base, "image_encoder", help="CLIP vision model of the adapter; default: the adapter's own")
    add(base, "local_image_encoder", help="dense CLIP for local tokens; none: without; default: the adapter's own")

    data = parser.add_argument_group("triplets")
    add(data, "train_data_dir", help="folder of triplets; `relationbooth triplets check` it first")
    add(data, "dataset_name", help="Hub dataset that holds such a folder, instead")
    add(data, "fix_keypoints", bool, help="put clearly swapped keypoints in order instead of refusing them")
    add(data, "resolution", int, 1024, "side of the square whose area every view has; pixels")
    add(data, "views_per_triplet", int, 8, "random crops encoded of each triplet")
    add(data, "largest_zoom", float, 1.15, "of a random crop")
    add(data, "center_crop", bool, help="no random crops")
    add(data, "random_flip", bool, help="mirror half of the views; not for relations that tell left from right")

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
    add(report, "validation_prompt", help="draw it with and without the LoRA, from the same seeds")
    add(report, "validation_images", nargs="+", help="image prompts for it; default: those of the first triplet")
    add(report, "validation_phrases", nargs="+", help="their phrases")
    add(report, "num_validation_images", int, 4)
    add(report, "validation_guidance_scale", float, 5.0)
    add(report, "validation_steps", int, help="every so many steps; default: at the end only")
    add_report_options(report, project="relation-lora")
    add(report, "push_to_hub", bool)
    add(report, "hub_token")
    add(report, "hub_model_id", help="repository; default: the output folder's name")
    return parser


def parse_arguments(arguments: list[str] | None = None) -> argparse.Namespace:
    """Parsed and checked, as far as that needs no file."""
    parser = build_parser()
    args = parser.parse_args(arguments)

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
    check_numbers(
        parser,
        args,
        at_least_one=("rank", "views_per_triplet", "num_validation_images"),
        not_negative=("kml_weight", "predicate_attention_weight", "image_prompt_scale"),
    )
    must(args.resolution % 8 == 0 and args.resolution >= 64, f"`--resolution` must be a multiple of 8, at least 64, "
         f"got {args.resolution}.")  # fmt: skip
    must(args.largest_zoom >= 1, f"`--largest_zoom` must be at least 1, got {args.largest_zoom}.")
    must(
        args.validation_prompt is not None or not (args.validation_images or args.validation_phrases),
        "`--validation_images` and `--validation_phrases` need `--validation_prompt`.",
    )
    given = [len(args.validation_images or []), len(args.validation_phrases or [])]
    must(given[0] == given[1], f"`--validation_images` and `--validation_phrases` must be as many, got {given}.")
    return args


def load_triplets(args) -> list[Triplet]:
    """The triplets, every fault reported at once; clearly swapped keypoints are refused or put in order."""
    folder = args.train_data_dir
    if args.dataset_name is not None:
        folder = args.dataset_name
        if not Path(folder).is_dir():
            folder = snapshot_download(folder, repo_type="dataset", cache_dir=args.cache_dir, token=args.hub_token)
    triplets = read_triplets(folder)
    phrases = args.validation_phrases or triplets[0].phrases
    absent = [phrase for phrase in phrases if phrase not in (args.validation_prompt or phrase)]
    if absent:
        raise ValueError(
            f"`--validation_prompt` {args.validation_prompt!r} must name {', '.join(absent)}: its image prompts show "
            "them. Those of the first triplet are used; `--validation_images` and `--validation_phrases` give others."
        )
    if args.fix_keypoints:
        return repair_assignments(triplets)
    swapped = [t.name for t, (verdict, _) in zip(triplets, check_assignments(triplets)) if verdict == "swapped"]
    if swapped:
        raise ValueError(
            f"the keypoints of {', '.join(swapped)} in `{folder}` are listed in another object's place. Look at "
            f"`relationbooth triplets check {folder}`, then repair them with its `--fix`, or pass `--fix_keypoints`."
        )
    return triplets


def check_before_loading(args) -> None:
    """What configs alone can tell: base and adapter fit together, the scheduler is one we can train on.

    Raises:
        ValueError: with what to use instead.
    """
    base = {"revision": args.revision, "cache_dir": args.cache_dir, "token": args.hub_token}
    unet = UNet2DConditionModel.load_config(args.pretrained_model_name_or_path, subfolder="unet", **base)
    if unet.get("addition_embed_type") != "text_time":
        raise ValueError(
            f"`--pretrained_model_name_or_path` must be an SDXL model, got one with `addition_embed_type` "
            f"{unet.get('addition_embed_type')!r}."
        )
    training_scheduler(DDPMScheduler.load_config(args.pretrained_model_name_or_path, subfolder="scheduler", **base))
    if args.relation_adapter is not None and args.relation_adapter_weight_name is None:
        config = RelationAdapter.load_config(args.relation_adapter, cache_dir=args.cache_dir, token=args.hub_token)
        found, expected = config["resampler_config"]["output_dim"], unet["cross_attention_dim"]
        if found != expected:
            raise ValueError(
                f"`--relation_adapter` must be made for `cross_attention_dim` {expected}, the base model's; this one "
                f"was made for {found}."
            )
