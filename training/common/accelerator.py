"""What a run's options make: accelerator, trackers, optimizer, and the state that checkpoints keep."""

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState, is_initialized
from accelerate.utils import GradientAccumulationPlugin, set_seed
from diffusers.optimization import get_scheduler

from .checkpoints import Checkpoints
from .options import LoopOptions, ReportOptions
from .run_folder import check_length

DTYPES = {"no": torch.float32, "fp16": torch.float16, "bf16": torch.bfloat16}
logger = logging.getLogger(__name__)


class LossHistory:
    """Mean losses of every step so far; part of each checkpoint."""

    def __init__(self) -> None:
        self.rows: list[dict[str, float]] = []

    def state_dict(self) -> dict:
        return {"rows": self.rows}

    def load_state_dict(self, state: dict) -> None:
        self.rows = state["rows"]


@dataclass
class Run:
    """What the steps of a run share.

    Attributes:
        model, optimizer: prepared by `accelerator`. trained: the model's weights that train.
        rate: the learning rate's schedule, advanced once an optimizer step.
    """

    accelerator: Accelerator
    loop: LoopOptions
    model: torch.nn.Module
    trained: list[torch.nn.Parameter]
    optimizer: torch.optim.Optimizer
    rate: torch.optim.lr_scheduler.LRScheduler
    history: LossHistory


def start_accelerator(loop: LoopOptions, report: ReportOptions) -> Accelerator:
    """The accelerator that the options ask for; the process's random states start from the seed, so that those which
    checkpoints keep are the same in two equal runs."""
    set_seed(loop.seed)
    if loop.allow_tf32:
        torch.backends.cuda.matmul.allow_tf32 = True
    # accelerate keeps one precision for a process, also when the run that asked for it is over
    if is_initialized() and loop.mixed_precision not in (None, AcceleratorState().mixed_precision):
        AcceleratorState._reset_state()
    return Accelerator(
        # As a plugin: a bare number yields to ACCELERATE_GRADIENT_ACCUMULATION_STEPS, and an accelerator that
        # accumulates more batches than the loop gives it holds back steps which the loop counts as done.
        gradient_accumulation_plugin=GradientAccumulationPlugin(num_steps=loop.gradient_accumulation_steps),
        mixed_precision=loop.mixed_precision,
        log_with=None if report.report_to == "none" else report.report_to,
        project_dir=str(Path(loop.output_dir) / report.logging_dir),
    )


def start_trackers(accelerator: Accelerator, report: ReportOptions, told: Mapping[str, Any]) -> None:
    """The reports, with the run's arguments but for the token, which is nobody else's business."""
    if report.report_to != "none":
        config = {name: str(value) for name, value in told.items() if name != "hub_token"}
        accelerator.init_trackers(report.tracker_project_name, config)


def prepare_run(
    accelerator: Accelerator,
    loop: LoopOptions,
    model: torch.nn.Module,
    groups: list,
    samples: int,
    steps: int,
    start: int,
    kept: tuple = (),
) -> Run:
    """Optimizer and learning rate for `model`, both where the checkpoint of step `start` left them.

    Args:
        groups: the weights that train, or parameter groups of them.
        samples: of one optimizer step; `--scale_lr` multiplies the learning rate by them.
        steps: of the whole run; the learning rate's schedule ends there.
        start: 0 begins anew.
        kept: further objects with `state_dict` and `load_state_dict` that checkpoints hold.
    Raises:
        ValueError: `start` lies beyond `steps`.
    """
    check_length(loop, start, steps)
    optimizer = adamw(groups, loop, samples)
    rate = get_scheduler(loop.lr_scheduler, optimizer, num_warmup_steps=loop.lr_warmup_steps, num_training_steps=steps)
    trained = [weight for group in optimizer.param_groups for weight in group["params"]]
    model, optimizer = accelerator.prepare(model, optimizer)
    run = Run(accelerator, loop, model, trained, optimizer, rate, LossHistory())
    accelerator.register_for_checkpointing(rate, run.history, *kept)
    if start:
        folder = Checkpoints(loop.output_dir).path(start)
        accelerator.load_state(str(folder))
        # Checkpoints lie between steps. One of a run that diverged amid accumulated batches has kept their count.
        accelerator.step = 0
        if accelerator.is_main_process:
            logger.info(f"going on from step {start}, `{folder}`")
    return run


def adamw(groups: list, loop: LoopOptions, samples: int) -> torch.optim.AdamW:
    """AdamW with the loop's options.

    Args:
        groups: weights, or parameter groups, which may have their own `weight_decay`.
        samples: of one optimizer step; `--scale_lr` multiplies the learning rate by them.
    """
    return torch.optim.AdamW(
        groups,
        lr=loop.learning_rate * (samples if loop.scale_lr else 1),
        betas=(loop.adam_beta1, loop.adam_beta2),
        weight_decay=loop.adam_weight_decay,
        eps=loop.adam_epsilon,
    )
