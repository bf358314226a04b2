"""Train a RelationLoRA: one relation between own objects, from a handful of triplets (RelationBooth, 3.4.1 and 3.4.2).

    accelerate launch -m training.train_relation_lora_sdxl --pretrained_model_name_or_path … --train_data_dir …

Everything frozen is computed once and kept on the CPU; a step is one UNet forward and backward. `training/README.md`
tells the rest.
"""

import os
from pathlib import Path

import torch
from accelerate import Accelerator
from accelerate.logging import get_logger
from diffusers.optimization import get_scheduler
from diffusers.training_utils import cast_training_params
from diffusers.utils import convert_unet_state_dict_to_peft
from huggingface_hub import create_repo, upload_folder
from peft import LoraConfig
from peft.utils import set_peft_model_state_dict
from safetensors.torch import load_file

from relationbooth_pipeline import RelationBoothPipeline
from relationbooth_pipeline.relation_lora import WEIGHT_NAME

from .common.accelerator import DTYPES, adamw, start_accelerator, start_trackers
from .common.batch_order import BatchSchedule, noise_and_timesteps
from .common.checkpoints import Checkpoints
from .common.diffusion import training_scheduler
from .common.frozen_models import everything_on, fit_vae_for_encoding, freeze, load_base, own_forward
from .common.loop import LossHistory, optimizer_step, run_program, run_steps
from .common.run_folder import open_run
from .common.run_pictures import log_validation, plot_losses
from .common.triplet_arguments import view_options
from .lora.arguments import FREE_ON_RESUME, check_before_loading, load_triplets, parse_arguments
from .lora.cache import collate, encode_triplets
from .lora.results import (
    draw_validation,
    relation_metadata,
    save_relation_lora,
    write_card,
)
from .lora.step import LossSettings, PredicateAttention, lora_parameter_count, lora_target_modules, step_losses

logger = get_logger(__name__)


def load_pipeline(args, dtype: torch.dtype) -> RelationBoothPipeline:
    """Base model, adapter and encoders, with attention ready for image prompts."""
    pipe = load_base(args, dtype)
    own = Path(args.pretrained_model_name_or_path) / "relation_adapter"
    adapter = args.relation_adapter or (str(own) if (own / "config.json").is_file() else None)
    if adapter is not None and (args.relation_adapter or pipe.relation_adapter is None):
        encoders = {"image_encoder": args.image_encoder or "auto"}
        local = args.local_image_encoder or "auto"
        pipe.load_relation_adapter(
            adapter,
            weight_name=args.relation_adapter_weight_name,
            local_image_encoder=None if local == "none" else local,
            cache_dir=args.cache_dir,
            token=args.hub_token,
            **encoders,
        )
    pipe.check_adapter()
    freeze(pipe)
    return pipe


def add_lora(unet, rank: int, seed: int) -> list[torch.nn.Parameter]:
    """Put the RelationLoRA on the UNet; its trainable weights, in float32."""
    expected = lora_parameter_count(unet, rank)
    torch.manual_seed(seed)
    unet.add_adapter(
        LoraConfig(r=rank, lora_alpha=rank, init_lora_weights="gaussian", target_modules=lora_target_modules(unet))
    )
    cast_training_params(unet, torch.float32)
    trained = [p for p in unet.parameters() if p.requires_grad]
    count = sum(p.numel() for p in trained)
    if count != expected:
        raise RuntimeError(f"{count} weights would train, the RelationLoRA has {expected}: peft changed its layers.")
    logger.info(f"RelationLoRA of rank {rank}: {count:,} weights, {4 * count / 1e6:.1f} MB as a file")
    return trained


def keep_lora_only(accelerator: Accelerator) -> None:
    """Checkpoints hold the LoRA, not the whole UNet."""

    def save(models, weights, folder):
        while weights:
            weights.pop()
        if accelerator.is_main_process:
            save_relation_lora(accelerator.unwrap_model(models[0]), folder)

    def load(models, folder):
        state = {key.removeprefix("unet."): tensor for key, tensor in load_file(Path(folder) / WEIGHT_NAME).items()}
        found = set_peft_model_state_dict(
            accelerator.unwrap_model(models.pop()), convert_unet_state_dict_to_peft(state), adapter_name="default"
        )
        if found.unexpected_keys:
            raise ValueError(f"`{folder}` does not fit this LoRA: unexpected {found.unexpected_keys[:3]}.")

    accelerator.register_save_state_pre_hook(save)
    accelerator.register_load_state_pre_hook(load)


def train(args) -> None:
    triplets = load_triplets(args)
    check_before_loading(args)
    accelerator = start_accelerator(args)
    with accelerator.main_process_first():
        start = open_run(args, FREE_ON_RESUME, WEIGHT_NAME)
    device, dtype, folder = accelerator.device, DTYPES[args.mixed_precision], Path(args.output_dir)

    pipe = load_pipeline(args, dtype)
    scheduler = training_scheduler(pipe.scheduler.config)
    metadata = relation_metadata(triplets, args.relation, args.template)
    with everything_on(pipe, device):
        fit_vae_for_encoding(pipe.vae)
        views = (args.resolution, args.views_per_triplet, args.seed)
        cached = encode_triplets(pipe, triplets, *views, args.image_prompt_scale, **view_options(args))
    pipe.vae.to(dtype)  # the pipeline upcasts it by itself where validation pictures are decoded
    unet = pipe.unet.to(device)
    trained = add_lora(unet, args.rank, args.seed)
    if args.gradient_checkpointing:
        unet.enable_gradient_checkpointing()
    samples = args.train_batch_size * accelerator.num_processes * args.gradient_accumulation_steps
    schedule = BatchSchedule([views[0].size for views in cached], args.views_per_triplet, samples, args.seed)
    steps = args.max_train_steps
    if args.num_train_epochs is not None:
        steps = args.num_train_epochs * schedule.steps_per_epoch

    optimizer = adamw(trained, args, samples)
    rate = get_scheduler(args.lr_scheduler, optimizer, num_warmup_steps=args.lr_warmup_steps, num_training_steps=steps)
    history = LossHistory()
    keep_lora_only(accelerator)
    model, optimizer = accelerator.prepare(unet, optimizer)
    accelerator.register_for_checkpointing(rate, history)
    if start:
        accelerator.load_state(str(Checkpoints(folder).path(start)))
        logger.info(f"going on from step {start}")
    start_trackers(accelerator, args)
    logger.info(
        f"triplets: {len(triplets)}, processes: {accelerator.num_processes}, samples a step: {samples}, steps: {steps}"
    )
    losses = LossSettings(args.kml_weight, args.kml_max_timestep, args.predicate_attention_weight, args.snr_gamma)
    attention = PredicateAttention(unet) if args.predicate_attention_weight else None

    def losses_of(mine):
        batch = collate([cached[draw.item][draw.view] for draw in mine]).to(device, dtype)
        noise = noise_and_timesteps(mine, batch.latent_mean.shape[1:], scheduler.config.num_train_timesteps)
        return step_losses(model, batch, *(t.to(device) for t in noise), scheduler, losses, attention)

    def run_step(step: int) -> dict[str, float]:
        row = optimizer_step(
            accelerator, args, model, trained, optimizer, schedule, step, losses_of, lambda d: triplets[d.item].name
        )
        rate.step()
        return row

    def validate(step: int) -> None:
        if args.validation_prompt is None or not accelerator.is_main_process:
            return
        unet.eval()
        with everything_on(pipe, device), own_forward(unet):
            log_validation(accelerator, draw_validation(pipe, args, triplets, metadata), step, folder)
        unet.train()

    def after_step(done: int) -> None:
        if args.validation_steps and done % args.validation_steps == 0 and done < steps:
            validate(done)

    model.train()
    run_steps(accelerator, args, range(start, steps), run_step, history, rate, after_step, ("loss", "keypoint"))
    if attention is not None:
        attention.remove()

    validate(steps)
    if accelerator.is_main_process:
        file = save_relation_lora(unet, folder, metadata)
        if history.rows:
            plot_losses(history.rows, folder / "loss.png")
        repo_id = args.hub_model_id or folder.name
        if args.push_to_hub:
            repo_id = create_repo(repo_id, exist_ok=True, token=args.hub_token).repo_id
        write_card(folder, args, metadata, repo_id, len(triplets), steps)
        logger.info(f"wrote `{file}` ({os.path.getsize(file) / 1e6:.1f} MB)")
        if args.push_to_hub:
            upload_folder(
                repo_id=repo_id,
                folder_path=folder,
                commit_message="RelationLoRA",
                ignore_patterns=["checkpoint-*", ".*", "logs/*"],
                token=args.hub_token,
            )
    accelerator.end_training()


def main(arguments: list[str] | None = None) -> None:
    run_program(train, parse_arguments(arguments))


if __name__ == "__main__":
    main()
