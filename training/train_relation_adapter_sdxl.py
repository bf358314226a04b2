"""Train a RelationAdapter: resampler and image K/V on a frozen SDXL UNet, by MS-Diffusion's recipe.

    accelerate launch -m training.train_relation_adapter_sdxl --pretrained_model_name_or_path … --train_data_dir …

The output folder is what `load_relation_adapter` reads. `docs/training.md` tells the rest.
"""

import argparse
import json
import sys
import tempfile
from dataclasses import asdict
from pathlib import Path

if not __package__:  # run as a file: its folder becomes the package of its relative imports (PEP 366)
    sys.path[0] = str(Path(__file__).resolve().parents[1])
    __package__ = Path(__file__).resolve().parent.name

import torch
from accelerate.logging import get_logger
from transformers import CLIPVisionModelWithProjection

from relationbooth_pipeline import LocalImageEncoder, RelationAdapter, RelationBoothPipeline
from relationbooth_pipeline.relation_attention import install_parallel_attention, prepare_parallel_attention
from relationbooth_pipeline.relation_loaders import load_model

from .adapter.arguments import (
    RelationAdapterOptions,
    adapter_config,
    check_before_loading,
    may_differ,
    parse_arguments,
)
from .adapter.samples import AdapterSamples, collate, fingerprint
from .adapter.step import draw_dropped, initialise_from_text, predict
from .common.accelerator import DTYPES, prepare_run, start_accelerator, start_trackers
from .common.batch_order import BatchOrder, Draw, noise_and_timesteps
from .common.checkpoints import check_writable, move_into
from .common.diffusion import denoising_loss, prediction_target, training_scheduler
from .common.frozen_models import everything_on, freeze, load_base
from .common.loop import optimizer_step, run_program, run_steps
from .common.options import options
from .common.run_folder import open_run
from .common.run_pictures import draw_pictures, log_validation, plot_losses, validation_prompts
from .common.triplet_arguments import base_and_adapter_facts, read_triplet_source, triplet_facts

logger = get_logger(__name__)
CONFIG = "config.json"  # the last file of a finished export: without it nothing loads
TRAINED = ("unet", "relation_adapter")  # what a step needs on the accelerator when encodings are kept


def add_adapter(pipe: RelationBoothPipeline, run: RelationAdapterOptions) -> RelationAdapter:
    """Give the pipeline its encoders, in the UNet's dtype, and the adapter to train, in float32; all else is frozen."""
    start, local, hub = run.start, run.start.local_image_encoder, run.base.hub
    if start.relation_adapter is not None:
        pipe.load_relation_adapter(
            start.relation_adapter,
            image_encoder=start.image_encoder or "auto",
            local_image_encoder=None if local == "none" else local or "auto",
            **hub,
        )
        # Once more: the pipeline's own copy has been rounded to the UNet's dtype.
        adapter = load_model(RelationAdapter, start.relation_adapter, dtype=torch.float32, **hub)
        if pipe.local_image_encoder is None:
            adapter.register_to_config(local_grid=0)
    else:
        dtype = pipe.unet.dtype
        encoder = load_model(CLIPVisionModelWithProjection, start.image_encoder, dtype=dtype, **hub)
        local_encoder = None if local == "none" else load_model(LocalImageEncoder, local, dtype=dtype, **hub)
        width, local_width = (e and e.config.hidden_size for e in (encoder, local_encoder))
        resampler, fields = adapter_config(run.new, width, local_width)
        torch.manual_seed(run.loop.seed)
        phrase_width = pipe.text_encoder.config.hidden_size
        adapter = RelationAdapter.for_unet(pipe.unet, width, phrase_width, resampler, **fields)
        initialise_from_text(adapter, pipe.unet)
        pipe.register_modules(image_prompt_encoder=encoder, local_image_encoder=local_encoder)
        install_parallel_attention(pipe.unet)
    freeze(pipe)
    pipe.register_modules(relation_adapter=adapter)
    adapter.requires_grad_(True).train()
    # Inert background tokens get no gradient, for which data-parallel training would wait.
    adapter.background_tokens.requires_grad_(adapter.acting_background_tokens > 0)
    return adapter


def encoding_settings(pipe: RelationBoothPipeline, run: RelationAdapterOptions) -> str:
    """What encodings depend on beside triplets and views, as JSON; folders of models by the state of their files."""
    models = {
        "pretrained_model_name_or_path": run.base.pretrained_model_name_or_path,
        "pretrained_vae_model_name_or_path": run.base.pretrained_vae_model_name_or_path,
        **asdict(run.start),
    }
    config = pipe.relation_adapter.config
    told = {name: fingerprint(source) for name, source in models.items()}
    told |= {name: config[name] for name in ("image_prompt_size", "local_grid", "local_image_size")}
    told |= {"revision": run.base.revision, "variant": run.base.variant, "dtype": str(pipe.unet.dtype)}
    return json.dumps(told)


def export(pipe: RelationBoothPipeline, folder: Path) -> None:
    """Adapter and encoders into the run's folder, whole or not at all."""
    with tempfile.TemporaryDirectory(dir=folder, prefix=".adapter-") as temporary:
        fresh = Path(temporary) / "adapter"
        pipe.save_relation_adapter(fresh)
        move_into(folder, fresh, last=CONFIG)


def train(args: argparse.Namespace) -> None:
    run_options = options(RelationAdapterOptions, args)
    loop, views, validation = run_options.loop, run_options.views, run_options.validation
    encodings = run_options.encodings_dir
    _, triplets = read_triplet_source(run_options.source, validation)
    check_before_loading(run_options)
    if encodings is not None:
        check_writable(encodings, "--encodings_dir")
    accelerator = start_accelerator(loop, run_options.report)
    facts = {"process_count": accelerator.num_processes, **triplet_facts(triplets)}
    facts |= base_and_adapter_facts(run_options.base, asdict(run_options.start), own_adapter=False)
    with accelerator.main_process_first():
        start = open_run(loop, vars(args), facts, may_differ(args), CONFIG)
    device, dtype, folder = accelerator.device, DTYPES[loop.mixed_precision], Path(loop.output_dir)

    pipe = load_base(run_options.base, dtype)
    scheduler = training_scheduler(pipe.scheduler.config)
    adapter = add_adapter(pipe, run_options)
    settings = encoding_settings(pipe, run_options)
    samples = AdapterSamples(pipe, triplets, views, loop.seed, encodings, settings)
    if encodings is None:
        staying = tuple(pipe.components)
        pipe.to(device)
    else:
        staying = TRAINED
        with everything_on(pipe, device, staying):
            samples.store(range(accelerator.process_index, len(triplets), accelerator.num_processes))
        accelerator.wait_for_everyone()
    unet = pipe.unet.to(device)
    prepare_parallel_attention(unet, device)
    if loop.gradient_checkpointing:
        unet.enable_gradient_checkpointing()

    trained = [weight for weight in adapter.parameters() if weight.requires_grad]
    count = loop.samples_per_step(accelerator.num_processes)
    order = BatchOrder(samples.sizes(), views.views_per_triplet, count, loop.seed)
    steps = loop.total_steps(order.steps_per_epoch)
    run = prepare_run(accelerator, loop, adapter, trained, count, steps, start)
    start_trackers(accelerator, run_options.report, vars(args))
    logger.info(
        f"triplets: {len(triplets)}, processes: {accelerator.num_processes}, samples a step: {count}, steps: {steps}, "
        f"trained weights: {sum(weight.numel() for weight in trained):,}"
    )
    dropouts = run_options.dropout.dropouts()

    def losses_of(mine: list[Draw]) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
        batch = collate([samples(draw.item, draw.view) for draw in mine], device)
        mean, std = batch.pop("latent_mean"), batch.pop("latent_std")
        drawn = noise_and_timesteps(mine, mean.shape[1:], scheduler.config.num_train_timesteps)
        noise, posterior_noise, timesteps = (tensor.to(device) for tensor in drawn)
        latents = mean + std * posterior_noise
        dropped = [tensor.to(device) for tensor in draw_dropped(dropouts, mine)]
        output = predict(unet, run.model, batch, scheduler.add_noise(latents, noise, timesteps), timesteps, dropped)
        target = prediction_target(scheduler, latents, noise, timesteps)
        losses = denoising_loss(output, target, timesteps, scheduler, run_options.snr_gamma)
        return losses.mean(), {"loss": losses.detach()}

    def run_step(step: int) -> dict[str, float]:
        return optimizer_step(run, order, step, losses_of, lambda draw: triplets[draw.item].name)

    def validate(step: int) -> None:
        if validation.validation_prompt is None or not accelerator.is_main_process:
            return
        *prompts, boxes = validation_prompts(validation, triplets)
        if pipe.vae.dtype != dtype:  # widened for encoding; where pictures are decoded the pipeline does so by itself
            pipe.vae.to(dtype)
        with everything_on(pipe, device, staying):
            encoded = pipe.encode_image_prompts(*prompts)
            pictures = {
                "without": draw_pictures(pipe, validation),
                "with": draw_pictures(pipe, validation, image_prompts=encoded, boxes=boxes),
            }
        log_validation(accelerator, pictures, step, folder)

    def after_step(done: int) -> None:
        if validation.is_due(done, steps):
            validate(done)

    run_steps(run, range(start, steps), run_step, after_step)
    if accelerator.is_main_process:
        if run.history.rows:
            plot_losses(run.history.rows, folder / "loss.png")
        export(pipe, folder)
        logger.info(f"wrote the adapter `{folder}`")
        validate(steps)  # after the result, which should not be lost with a picture
    accelerator.end_training()


def main(arguments: list[str] | None = None) -> None:
    run_program(train, parse_arguments(arguments))


if __name__ == "__main__":
    main()
