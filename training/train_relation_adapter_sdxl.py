"""Train a RelationAdapter: resampler and image K/V on a frozen SDXL UNet, by MS-Diffusion's recipe.

    accelerate launch -m training.train_relation_adapter_sdxl --pretrained_model_name_or_path … --train_data_dir …

The output folder is what `load_relation_adapter` reads. `training/README.md` tells the rest.
"""

import json
import tempfile
from pathlib import Path

import torch
from accelerate.logging import get_logger
from diffusers.optimization import get_scheduler
from transformers import CLIPVisionModelWithProjection

from relationbooth_pipeline import LocalImageEncoder, RelationAdapter
from relationbooth_pipeline.relation_attention import install_parallel_attention, prepare_parallel_attention
from relationbooth_pipeline.relation_loaders import load_model

from .adapter.arguments import FREE_ON_RESUME, adapter_config, check_before_loading, dropouts, parse_arguments
from .adapter.samples import AdapterSamples, collate, fingerprint
from .adapter.step import draw_dropped, initialise_from_text, predict
from .common.accelerator import DTYPES, adamw, start_accelerator, start_trackers
from .common.batch_order import BatchSchedule, noise_and_timesteps
from .common.checkpoints import Checkpoints, check_writable, move_into
from .common.diffusion import denoising_loss, prediction_target, training_scheduler
from .common.frozen_models import everything_on, freeze, load_base
from .common.loop import LossHistory, optimizer_step, run_program, run_steps
from .common.run_folder import open_run
from .common.run_pictures import draw_pictures, log_validation, plot_losses, validation_prompts
from .common.triplet_arguments import read_triplet_source, view_options

logger = get_logger(__name__)
CONFIG = "config.json"  # the last file of a finished export: without it nothing loads
TRAINED = ("unet", "relation_adapter")  # what a step needs on the accelerator when encodings are kept


def add_adapter(pipe, args) -> RelationAdapter:
    """Give the pipeline its encoders, in the UNet's dtype, and the adapter to train, in float32; all else is frozen."""
    hub, local = {"cache_dir": args.cache_dir, "token": args.hub_token}, args.local_image_encoder
    if args.relation_adapter is not None:
        pipe.load_relation_adapter(
            args.relation_adapter,
            image_encoder=args.image_encoder or "auto",
            local_image_encoder=None if local == "none" else local or "auto",
            **hub,
        )
        # Once more: the pipeline's own copy has been rounded to the UNet's dtype.
        adapter = load_model(RelationAdapter, args.relation_adapter, dtype=torch.float32, **hub)
        if pipe.local_image_encoder is None:
            adapter.register_to_config(local_grid=0)
    else:
        dtype = pipe.unet.dtype
        encoder = load_model(CLIPVisionModelWithProjection, args.image_encoder, dtype=dtype, **hub)
        local_encoder = None if local == "none" else load_model(LocalImageEncoder, local, dtype=dtype, **hub)
        width, local_width = (e and e.config.hidden_size for e in (encoder, local_encoder))
        resampler, fields = adapter_config(args, width, local_width)
        torch.manual_seed(args.seed)
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


def encoding_settings(pipe, args) -> str:
    """What encodings depend on beside triplets and views, as JSON; folders of models by the state of their files."""
    models = ("pretrained_model_name_or_path", "pretrained_vae_model_name_or_path", "relation_adapter",
              "image_encoder", "local_image_encoder")  # fmt: skip
    config = pipe.relation_adapter.config
    told = {name: fingerprint(getattr(args, name)) for name in models}
    told |= {name: config[name] for name in ("image_prompt_size", "local_grid", "local_image_size")}
    return json.dumps({**told, "revision": args.revision, "variant": args.variant, "dtype": str(pipe.unet.dtype)})


def export(pipe, folder: Path) -> None:
    """Adapter and encoders into the run's folder, whole or not at all."""
    with tempfile.TemporaryDirectory(dir=folder, prefix=".adapter-") as temporary:
        fresh = Path(temporary) / "adapter"
        pipe.save_relation_adapter(fresh)
        move_into(folder, fresh, last=CONFIG)


def train(args) -> None:
    _, triplets = read_triplet_source(args)
    check_before_loading(args)
    if args.encodings_dir is not None:
        check_writable(args.encodings_dir, "--encodings_dir")
    accelerator = start_accelerator(args)
    with accelerator.main_process_first():
        start = open_run(args, FREE_ON_RESUME, CONFIG)
    device, dtype, folder = accelerator.device, DTYPES[args.mixed_precision], Path(args.output_dir)

    pipe = load_base(args, dtype)
    scheduler = training_scheduler(pipe.scheduler.config)
    adapter = add_adapter(pipe, args)
    samples = AdapterSamples(
        pipe, triplets, args.resolution, args.views_per_triplet, args.seed, view_options(args), args.encodings_dir,
        encoding_settings(pipe, args),
    )  # fmt: skip
    if args.encodings_dir is None:
        staying = tuple(pipe.components)
        pipe.to(device)
    else:
        staying = TRAINED
        with everything_on(pipe, device, staying):
            samples.store(range(accelerator.process_index, len(triplets), accelerator.num_processes))
        accelerator.wait_for_everyone()
    unet = pipe.unet.to(device)
    prepare_parallel_attention(unet, device)
    if args.gradient_checkpointing:
        unet.enable_gradient_checkpointing()

    trained = [weight for weight in adapter.parameters() if weight.requires_grad]
    count = args.train_batch_size * accelerator.num_processes * args.gradient_accumulation_steps
    schedule = BatchSchedule(samples.sizes(), args.views_per_triplet, count, args.seed)
    steps = args.max_train_steps or args.num_train_epochs * schedule.steps_per_epoch
    optimizer = adamw(trained, args, count)
    rate = get_scheduler(args.lr_scheduler, optimizer, num_warmup_steps=args.lr_warmup_steps, num_training_steps=steps)
    history = LossHistory()
    model, optimizer = accelerator.prepare(adapter, optimizer)
    accelerator.register_for_checkpointing(rate, history)
    if start:
        accelerator.load_state(str(Checkpoints(folder).path(start)))
        logger.info(f"going on from step {start}")
    start_trackers(accelerator, args)
    logger.info(
        f"triplets: {len(triplets)}, processes: {accelerator.num_processes}, samples a step: {count}, steps: {steps}, "
        f"trained weights: {sum(weight.numel() for weight in trained):,}"
    )
    chances = dropouts(args)

    def losses_of(mine):
        batch = collate([samples(draw.item, draw.view) for draw in mine], device)
        mean, std = batch.pop("latent_mean"), batch.pop("latent_std")
        drawn = noise_and_timesteps(mine, mean.shape[1:], scheduler.config.num_train_timesteps)
        noise, posterior_noise, timesteps = (tensor.to(device) for tensor in drawn)
        latents = mean + std * posterior_noise
        dropped = [tensor.to(device) for tensor in draw_dropped(chances, mine)]
        output = predict(unet, model, batch, scheduler.add_noise(latents, noise, timesteps), timesteps, dropped)
        target = prediction_target(scheduler, latents, noise, timesteps)
        losses = denoising_loss(output, target, timesteps, scheduler, args.snr_gamma)
        return losses.mean(), {"loss": losses.detach()}

    def run_step(step: int) -> dict[str, float]:
        row = optimizer_step(
            accelerator, args, model, trained, optimizer, schedule, step, losses_of, lambda d: triplets[d.item].name
        )
        rate.step()
        return row

    def validate(step: int) -> None:
        if args.validation_prompt is None or not accelerator.is_main_process:
            return
        *prompts, boxes = validation_prompts(args, triplets)
        if pipe.vae.dtype != dtype:  # widened for encoding; where pictures are decoded the pipeline does so by itself
            pipe.vae.to(dtype)
        with everything_on(pipe, device, staying):
            pictures = {
                "without": draw_pictures(pipe, args),
                "with": draw_pictures(pipe, args, image_prompts=pipe.encode_image_prompts(*prompts), boxes=boxes),
            }
        log_validation(accelerator, pictures, step, folder)

    def after_step(done: int) -> None:
        if args.validation_steps and done % args.validation_steps == 0 and done < steps:
            validate(done)

    run_steps(accelerator, args, range(start, steps), run_step, history, rate, after_step)
    validate(steps)
    if accelerator.is_main_process:
        if history.rows:
            plot_losses(history.rows, folder / "loss.png")
        export(pipe, folder)
        logger.info(f"wrote the adapter `{folder}`")
    accelerator.end_training()


def main(arguments: list[str] | None = None) -> None:
    run_program(train, parse_arguments(arguments))


if __name__ == "__main__":
    main()
