"""Make a CLIP vision tower dense: it learns to see a place of a picture as it sees its crop (CLIPSelf).

    accelerate launch -m training.train_local_image_encoder --pretrained_model_name_or_path … --train_data_dir …

The teacher is the frozen tower itself; no labels are needed. The output folder is a `LocalImageEncoder`.
`docs/training.md` tells the rest.
"""

import argparse
import sys
import tempfile
from pathlib import Path

if not __package__:  # run as a file: its folder becomes the package of its relative imports (PEP 366)
    sys.path[0] = str(Path(__file__).resolve().parents[1])
    __package__ = Path(__file__).resolve().parent.name

import torch
from accelerate import Accelerator
from accelerate.logging import get_logger
from accelerate.utils import gather_object
from safetensors.torch import load_file, save_file
from transformers import CLIPVisionModelWithProjection

from relationbooth_pipeline import LocalImageEncoder
from relationbooth_pipeline.relation_loaders import load_model

from .common.accelerator import DTYPES, prepare_run, start_accelerator, start_trackers
from .common.checkpoints import move_into
from .common.loop import TrainingDiverged, descend, run_program, run_steps
from .common.options import options
from .common.run_folder import open_run
from .common.run_pictures import plot_losses
from .encoder.arguments import (
    LocalEncoderOptions,
    TowerOptions,
    may_differ,
    parse_arguments,
    tower_facts,
    vision_config,
)
from .encoder.crop_pictures import CropPlan, batches, steps_per_epoch
from .encoder.crop_sources import PictureStream, open_source, picture_facts
from .encoder.distillation import average_weights, crop_distillation_loss

logger = get_logger(__name__)
TRAINED = "trained.safetensors"  # in a checkpoint: the blocks that train
CONFIG = "config.json"  # the last file of a finished export: without it nothing loads


class StreamPosition:
    """How far a stream has been read, (epoch, pictures of it); part of each checkpoint."""

    def __init__(self) -> None:
        self.value = (0, 0)

    def state_dict(self) -> dict:
        return {"value": list(self.value)}

    def load_state_dict(self, state: dict) -> None:
        self.value = tuple(state["value"])


def load_towers(
    tower: TowerOptions, teacher_dtype: torch.dtype
) -> tuple[LocalImageEncoder, CLIPVisionModelWithProjection]:
    """Student in float32 and frozen teacher, of the same weights."""
    source = tower.pretrained_model_name_or_path
    student = load_model(LocalImageEncoder, source, dtype=torch.float32, **tower.place)
    teacher = load_model(CLIPVisionModelWithProjection, source, dtype=teacher_dtype, **tower.place)
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


def train(args: argparse.Namespace) -> None:
    run_options = options(LocalEncoderOptions, args)
    loop, method, workers = run_options.loop, run_options.method, run_options.dataloader_num_workers
    config = vision_config(run_options.tower, method)
    source = open_source(run_options.pictures, max(config.patch_size, method.max_split))
    count = None if isinstance(source, PictureStream) else len(source)
    accelerator = start_accelerator(loop, run_options.report)
    facts = {"picture_count": count, "process_count": accelerator.num_processes}
    facts |= {**picture_facts(run_options.pictures, source), **tower_facts(run_options.tower)}
    with accelerator.main_process_first():
        start = open_run(loop, vars(args), facts, may_differ(args), CONFIG)
    device, dtype, folder = accelerator.device, DTYPES[loop.mixed_precision], Path(loop.output_dir)
    plan = CropPlan(
        crop_size=config.image_size,
        image_size=config.image_size * method.image_scale,
        batch_size=loop.train_batch_size,
        seed=loop.seed,
        accumulation=loop.gradient_accumulation_steps,
        processes=accelerator.num_processes,
        process=accelerator.process_index,
        max_split=method.max_split,
        max_crops=method.max_crops,
    )
    steps = loop.total_steps(0 if count is None else steps_per_epoch(source, plan))  # a stream's are always told

    student, teacher = load_towers(run_options.tower, dtype)
    teacher.to(device)
    trained = trainable_weights(student, method.trainable_blocks)
    original = {name: weight.detach().cpu().clone() for name, weight in trained.items()}
    if loop.gradient_checkpointing:
        student.gradient_checkpointing_enable({"use_reentrant": False})
    position = StreamPosition()
    keep_trained_only(accelerator)
    groups = parameter_groups(trained)
    run = prepare_run(accelerator, loop, student, groups, plan.pictures_per_step, steps, start, (position,))
    start_trackers(accelerator, run_options.report, {**vars(args), **facts})
    logger.info(
        f"pictures: {count or 'a stream'}, processes: {accelerator.num_processes}, pictures a step: "
        f"{plan.pictures_per_step}, steps: {steps}, trained weights: {sum(w.numel() for w in trained.values()):,}"
    )
    coming = batches(source, plan, range(start, steps), position.value, workers)

    def run_step(step: int) -> dict[str, float]:
        """One optimizer step over all accumulated batches; mean loss over all crops of all processes."""
        values = []
        for _ in range(loop.gradient_accumulation_steps):
            batch = next(coming)
            with accelerator.accumulate(run.model):
                with torch.no_grad():
                    seen = teacher(batch.crops.to(device, dtype)).image_embeds
                pooled = run.model(batch.pixels.to(device), boxes=batch.boxes.to(device), project=True)
                losses = torch.stack(
                    [
                        crop_distillation_loss(features[: len(expected)], expected)
                        for features, expected in zip(pooled, seen.split(batch.counts))
                    ]
                )
                every = accelerator.gather(losses.detach())
                if not torch.isfinite(every).all():
                    names = gather_object(batch.names)
                    bad = sorted({names[i] for i in (~torch.isfinite(every)).nonzero().flatten().tolist()})
                    raise TrainingDiverged(f"the loss of step {step + 1} is not finite for {', '.join(bad)}.")
                loss = (losses * batch.shares.to(device)).sum()
                descend(run, loss, step)
            values.append(accelerator.gather(loss.detach()).mean())
        run.rate.step()
        position.value = batch.position or position.value
        return {"loss": torch.stack(values).mean().item()}

    run.model.train()
    run_steps(run, range(start, steps), run_step)
    if accelerator.is_main_process:
        student = accelerator.unwrap_model(run.model)
        mixed = average_weights(
            {name: weight.detach().cpu() for name, weight in trained.items()}, original, 1 - method.original_share
        )
        with torch.no_grad():
            for name, weight in trained.items():
                weight.copy_(mixed[name])
        if run.history.rows:
            plot_losses(run.history.rows, folder / "loss.png")
        export(student, folder)
        logger.info(f"wrote the local image encoder `{folder}`")
    accelerator.end_training()


def main(arguments: list[str] | None = None) -> None:
    run_program(train, parse_arguments(arguments))


if __name__ == "__main__":
    main()
