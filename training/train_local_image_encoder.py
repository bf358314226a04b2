"""Make a CLIP vision tower dense: it learns to see a region of a picture as it sees the region's crop (CLIPSelf).

    accelerate launch -m training.train_local_image_encoder --pretrained_model_name_or_path … --train_data_dir …

The teacher is the frozen tower itself; no labels are needed. The output folder is a `LocalImageEncoder`.
`training/README.md` tells the rest.
"""

import tempfile
from pathlib import Path

import torch
from accelerate import Accelerator
from accelerate.logging import get_logger
from accelerate.utils import gather_object
from diffusers.optimization import get_scheduler
from safetensors.torch import load_file, save_file
from transformers import CLIPVisionModelWithProjection

from relationbooth_pipeline import LocalImageEncoder
from relationbooth_pipeline.relation_loaders import load_model

from .common.accelerator import DTYPES, adamw, start_accelerator, start_trackers
from .common.checkpoints import Checkpoints, move_into
from .common.loop import LossHistory, TrainingDiverged, run_program, run_steps
from .common.run_folder import open_run
from .common.run_pictures import plot_losses
from .encoder.arguments import FREE_ON_RESUME, hub_options, parse_arguments, vision_config
from .encoder.crop_pictures import RegionPlan, batches, steps_per_epoch
from .encoder.crop_sources import PictureStream, open_source
from .encoder.distillation import average_weights, region_distillation_loss

logger = get_logger(__name__)
TRAINED = "trained.safetensors"  # in a checkpoint: the blocks that train
CONFIG = "config.json"  # the last file of a finished export: without it nothing loads


class StreamPosition:
    """How far a stream has been read, (epoch, pictures of it); part of each checkpoint."""

    def __init__(self):
        self.value = (0, 0)

    def state_dict(self) -> dict:
        return {"value": list(self.value)}

    def load_state_dict(self, state: dict) -> None:
        self.value = tuple(state["value"])


def load_towers(args, teacher_dtype: torch.dtype) -> tuple[LocalImageEncoder, CLIPVisionModelWithProjection]:
    """Student in float32 and frozen teacher, of the same weights."""
    source, hub = args.pretrained_model_name_or_path, hub_options(args)
    student = load_model(LocalImageEncoder, source, dtype=torch.float32, **hub)
    teacher = load_model(CLIPVisionModelWithProjection, source, dtype=teacher_dtype, **hub)
    return student, teacher.requires_grad_(False).eval()


def trainable_weights(student: LocalImageEncoder, blocks: int | None) -> dict[str, torch.nn.Parameter]:
    """Unfreeze the last `blocks` transformer blocks, all for None; name → weight of what trains.

    Embeddings, final norm and projection stay: they are the space in which student and teacher are compared. So do the
    queries and keys of the last block, which dense features never read.
    """
    student.requires_grad_(False)
    layers = student.vision_model.encoder.layers
    for block in layers[-(blocks or len(layers)) :]:
        block.requires_grad_(True)
    for unread in (layers[-1].self_attn.q_proj, layers[-1].self_attn.k_proj):
        unread.requires_grad_(False)
    return {name: weight for name, weight in student.named_parameters() if weight.requires_grad}


def parameter_groups(trained: dict[str, torch.nn.Parameter]) -> list[dict]:
    """Weight decay on matrices alone, as open_clip has it, on which CLIPSelf was built."""
    matrices = [weight for weight in trained.values() if weight.ndim > 1]
    vectors = [weight for weight in trained.values() if weight.ndim <= 1]
    return [{"params": matrices}, {"params": vectors, "weight_decay": 0.0}]


def keep_trained_only(accelerator: Accelerator) -> None:
    """Checkpoints hold the weights that train, not the whole tower."""

    def trained(model) -> dict[str, torch.nn.Parameter]:
        return {name: weight for name, weight in model.named_parameters() if weight.requires_grad}

    def save(models, weights, folder):
        weights.clear()
        if accelerator.is_main_process:
            state = trained(accelerator.unwrap_model(models[0]))
            save_file({name: weight.detach().contiguous() for name, weight in state.items()}, Path(folder) / TRAINED)

    def load(models, folder):
        state, found = trained(accelerator.unwrap_model(models.pop())), load_file(Path(folder) / TRAINED)
        if state.keys() != found.keys():
            other = sorted(state.keys() ^ found.keys())
            raise ValueError(f"`{folder}` does not fit this tower: {len(other)} weights differ (first: {other[:2]}).")
        with torch.no_grad():
            for name, weight in state.items():
                weight.copy_(found[name])

    accelerator.register_save_state_pre_hook(save)
    accelerator.register_load_state_pre_hook(load)


def export(student: LocalImageEncoder, folder: Path) -> None:
    """The folder that `LocalImageEncoder.from_pretrained` loads, whole or not at all."""
    with tempfile.TemporaryDirectory(dir=folder, prefix=".encoder-") as temporary:
        student.save_pretrained(temporary)
        move_into(folder, Path(temporary), last=CONFIG)


def train(args) -> None:
    config = vision_config(args)
    source = open_source(args, max(config.patch_size, args.max_split))
    # Noted with the arguments: another number of pictures would be another order.
    args.picture_count = None if isinstance(source, PictureStream) else len(source)
    accelerator = start_accelerator(args)
    with accelerator.main_process_first():
        start = open_run(args, FREE_ON_RESUME, CONFIG)
    device, dtype, folder = accelerator.device, DTYPES[args.mixed_precision], Path(args.output_dir)
    plan = RegionPlan(
        crop_size=config.image_size,
        image_size=config.image_size * args.image_scale,
        batch_size=args.train_batch_size,
        seed=args.seed,
        accumulation=args.gradient_accumulation_steps,
        processes=accelerator.num_processes,
        process=accelerator.process_index,
        max_split=args.max_split,
        max_regions=args.max_regions,
    )
    steps = args.max_train_steps
    if steps is None:
        steps = args.num_train_epochs * steps_per_epoch(source, plan)

    student, teacher = load_towers(args, dtype)
    teacher.to(device)
    trained = trainable_weights(student, args.trainable_blocks)
    original = {name: weight.detach().cpu().clone() for name, weight in trained.items()}
    if args.gradient_checkpointing:
        student.gradient_checkpointing_enable({"use_reentrant": False})
    optimizer = adamw(parameter_groups(trained), args, plan.pictures_per_step)
    rate = get_scheduler(args.lr_scheduler, optimizer, num_warmup_steps=args.lr_warmup_steps, num_training_steps=steps)
    history, position = LossHistory(), StreamPosition()
    keep_trained_only(accelerator)
    model, optimizer = accelerator.prepare(student, optimizer)
    accelerator.register_for_checkpointing(rate, history, position)
    if start:
        accelerator.load_state(str(Checkpoints(folder).path(start)))
        logger.info(f"going on from step {start}")
    start_trackers(accelerator, args)
    logger.info(
        f"pictures: {args.picture_count or 'a stream'}, processes: {accelerator.num_processes}, pictures a step: "
        f"{plan.pictures_per_step}, steps: {steps}, trained weights: {sum(w.numel() for w in trained.values()):,}"
    )
    coming = batches(source, plan, range(start, steps), position.value, args.dataloader_num_workers)

    def run_step(step: int) -> dict[str, float]:
        """One optimizer step over all accumulated batches; mean loss over all regions of all processes."""
        values = []
        for _ in range(args.gradient_accumulation_steps):
            batch = next(coming)
            with accelerator.accumulate(model):
                with torch.no_grad():
                    seen = teacher(batch.crops.to(device, dtype)).image_embeds
                regions = model(batch.pixels.to(device), boxes=batch.regions.to(device), project=True)
                losses = torch.stack(
                    [
                        region_distillation_loss(pooled[: len(expected)], expected)
                        for pooled, expected in zip(regions, seen.split(batch.counts))
                    ]
                )
                every = accelerator.gather(losses.detach())
                if not torch.isfinite(every).all():
                    names = gather_object(batch.names)
                    bad = sorted({names[i] for i in (~torch.isfinite(every)).nonzero().flatten().tolist()})
                    raise TrainingDiverged(f"the loss of step {step + 1} is not finite for {', '.join(bad)}.")
                loss = (losses * batch.shares.to(device)).sum()
                accelerator.backward(loss)
                if accelerator.sync_gradients:
                    accelerator.clip_grad_norm_(list(trained.values()), args.max_grad_norm)
                optimizer.step()
                optimizer.zero_grad(set_to_none=True)
            values.append(accelerator.gather(loss.detach()).mean())
        rate.step()
        position.value = batch.position or position.value
        return {"loss": torch.stack(values).mean().item()}

    model.train()
    run_steps(accelerator, args, range(start, steps), run_step, history, rate)
    if accelerator.is_main_process:
        student = accelerator.unwrap_model(model)
        mixed = average_weights(
            {name: weight.detach().cpu() for name, weight in trained.items()}, original, 1 - args.original_share
        )
        with torch.no_grad():
            for name, weight in trained.items():
                weight.copy_(mixed[name])
        if history.rows:
            plot_losses(history.rows, folder / "loss.png")
        export(student, folder)
        logger.info(f"wrote the local image encoder `{folder}`")
    accelerator.end_training()


def main(arguments: list[str] | None = None) -> None:
    run_program(train, parse_arguments(arguments))


if __name__ == "__main__":
    main()
