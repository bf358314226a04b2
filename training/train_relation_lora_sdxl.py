"""Train a RelationLoRA: one relation between own objects, from a handful of triplets (RelationBooth, 3.4.1 and 3.4.2).

    accelerate launch -m training.train_relation_lora_sdxl --pretrained_model_name_or_path … --train_data_dir …

Everything frozen is computed once and kept on the CPU; a step is one UNet forward and backward. `docs/training.md`
tells the rest.
"""

import argparse
import os
import sys
from dataclasses import asdict
from pathlib import Path

if not __package__:  # run as a file: its folder becomes the package of its relative imports (PEP 366)
    sys.path[0] = str(Path(__file__).resolve().parents[1])
    __package__ = Path(__file__).resolve().parent.name

import torch
from accelerate import Accelerator
from accelerate.logging import get_logger
from diffusers import UNet2DConditionModel
from diffusers.training_utils import cast_training_params
from diffusers.utils import convert_unet_state_dict_to_peft
from peft import LoraConfig
from peft.utils import set_peft_model_state_dict
from safetensors.torch import load_file

from relationbooth_pipeline import RelationBoothPipeline
from relationbooth_pipeline.relation_files import LORA_WEIGHT_NAME

from .common.accelerator import DTYPES, prepare_run, start_accelerator, start_trackers
from .common.batch_order import BatchOrder, Draw, noise_and_timesteps
from .common.diffusion import training_scheduler
from .common.frozen_models import everything_on, fit_vae_for_encoding, freeze, load_base, own_forward
from .common.loop import optimizer_step, run_program, run_steps
from .common.options import BaseOptions, options
from .common.run_folder import open_run
from .common.run_pictures import log_validation, plot_losses
from .common.triplet_arguments import base_and_adapter_facts, triplet_facts
from .lora.arguments import (
    AdapterOptions,
    RelationLoraOptions,
    check_before_loading,
    load_triplets,
    may_differ,
    parse_arguments,
)
from .lora.cache import collate, encode_triplets
from .lora.card import write_card
from .lora.hub import claim_repository, upload
from .lora.loss_terms import wants_attention
from .lora.results import draw_validation, relation_metadata, save_relation_lora
from .lora.step import PredicateAttention, lora_parameter_count, lora_target_modules, step_losses

logger = get_logger(__name__)


def load_pipeline(base: BaseOptions, adapter: AdapterOptions, dtype: torch.dtype) -> RelationBoothPipeline:
    """Base model, adapter and encoders, all frozen, with attention ready for image prompts.

    Raises:
        ValueError: no adapter is named, and the base model brings none.
    """
    pipe = load_base(base, dtype)
    if adapter.relation_adapter is None and pipe.relation_adapter is None:
        raise ValueError(
            f"`--relation_adapter` must name an adapter: `{base.pretrained_model_name_or_path}` brings none of its own."
        )
    if adapter.relation_adapter or adapter.image_encoder or adapter.local_image_encoder:
        local = adapter.local_image_encoder or "auto"
        own = {"subfolder": "relation_adapter", "revision": base.revision}  # in the base model's folder or repository
        pipe.load_relation_adapter(
            adapter.relation_adapter or base.pretrained_model_name_or_path,
            weight_name=adapter.relation_adapter_weight_name,
            image_encoder=adapter.image_encoder or "auto",
            local_image_encoder=None if local == "none" else local,
            **({} if adapter.relation_adapter else own),
            **base.hub,
        )
    freeze(pipe)
    return pipe


def add_lora(unet: UNet2DConditionModel, rank: int, seed: int) -> list[torch.nn.Parameter]:
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
        state = {
            key.removeprefix("unet."): tensor for key, tensor in load_file(Path(folder) / LORA_WEIGHT_NAME).items()
        }
        found = set_peft_model_state_dict(
            accelerator.unwrap_model(models.pop()), convert_unet_state_dict_to_peft(state), adapter_name="default"
        )
        if found.unexpected_keys:
            raise ValueError(f"`{folder}` does not fit this LoRA: unexpected {found.unexpected_keys[:3]}.")

    accelerator.register_save_state_pre_hook(save)
    accelerator.register_load_state_pre_hook(load)


def train(args: argparse.Namespace) -> None:
    run_options = options(RelationLoraOptions, args)
    loop, views, validation = run_options.loop, run_options.views, run_options.validation
    triplets = load_triplets(run_options)
    check_before_loading(run_options, triplets)
    accelerator = start_accelerator(loop, run_options.report)
    folder, repo_id = Path(loop.output_dir), ""
    facts = {"process_count": accelerator.num_processes, **triplet_facts(triplets)}
    facts |= base_and_adapter_facts(run_options.base, asdict(run_options.adapter), own_adapter=True)
    with accelerator.main_process_first():
        start = open_run(loop, vars(args), facts, may_differ(args), LORA_WEIGHT_NAME)
        if accelerator.is_main_process:
            repo_id = claim_repository(run_options.hub, folder)
    device, dtype = accelerator.device, DTYPES[loop.mixed_precision]

    pipe = load_pipeline(run_options.base, run_options.adapter, dtype)
    scheduler = training_scheduler(pipe.scheduler.config)
    metadata = relation_metadata(triplets, run_options.lora.relation, run_options.lora.template)
    scale = run_options.lora.image_prompt_scale
    with everything_on(pipe, device):
        fit_vae_for_encoding(pipe.vae)
        cached = encode_triplets(pipe, triplets, views, loop.seed, scale)
    pipe.vae.to(dtype)  # the pipeline upcasts it by itself where validation pictures are decoded
    unet = pipe.unet.to(device)
    trained = add_lora(unet, run_options.lora.rank, loop.seed)
    if loop.gradient_checkpointing:
        unet.enable_gradient_checkpointing()
    samples = loop.samples_per_step(accelerator.num_processes)
    order = BatchOrder([drawn[0].size for drawn in cached], views.views_per_triplet, samples, loop.seed)
    steps = loop.total_steps(order.steps_per_epoch)

    keep_lora_only(accelerator)
    run = prepare_run(accelerator, loop, unet, trained, samples, steps, start)
    start_trackers(accelerator, run_options.report, vars(args))
    logger.info(
        f"triplets: {len(triplets)}, processes: {accelerator.num_processes}, samples a step: {samples}, steps: {steps}"
    )
    losses = run_options.losses
    attention = PredicateAttention(unet) if wants_attention(losses) else None

    def losses_of(mine: list[Draw]) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
        batch = collate([cached[draw.item][draw.view] for draw in mine]).to(device, dtype)
        noise = noise_and_timesteps(mine, batch.latent_mean.shape[1:], scheduler.config.num_train_timesteps)
        return step_losses(run.model, batch, *(t.to(device) for t in noise), scheduler, losses, attention)

    def run_step(step: int) -> dict[str, float]:
        return optimizer_step(run, order, step, losses_of, lambda draw: triplets[draw.item].name)

    def validate(step: int) -> None:
        if validation.validation_prompt is None or not accelerator.is_main_process:
            return
        unet.eval()
        with everything_on(pipe, device), own_forward(unet):
            pictures = draw_validation(pipe, validation, triplets, metadata, scale)
            log_validation(accelerator, pictures, step, folder)
        unet.train()

    def after_step(done: int) -> None:
        if validation.is_due(done, steps):
            validate(done)

    run.model.train()
    run_steps(run, range(start, steps), run_step, after_step, ("loss", "keypoint"))
    if attention is not None:
        attention.remove()

    if accelerator.is_main_process:
        file = save_relation_lora(unet, folder, metadata)
        logger.info(f"wrote `{file}` ({os.path.getsize(file) / 1e6:.1f} MB)")
        if run.history.rows:
            plot_losses(run.history.rows, folder / "loss.png")
        validate(steps)  # after the result, which should not be lost with a picture; before the card, which shows them
        write_card(folder, run_options, metadata, triplets, repo_id, steps)
        if run_options.hub.push_to_hub:
            upload(run_options.hub, repo_id, folder, run_options.report.logging_dir)
    accelerator.end_training()


def main(arguments: list[str] | None = None) -> None:
    run_program(train, parse_arguments(arguments))


if __name__ == "__main__":
    main()
