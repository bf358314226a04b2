"""What the loop's options make: accelerator, trackers, optimizer."""

from pathlib import Path

import torch
from accelerate import Accelerator

DTYPES = {"no": torch.float32, "fp16": torch.float16, "bf16": torch.bfloat16}


def start_accelerator(args) -> Accelerator:
    """The accelerator that the loop's and the reports' options ask for."""
    if args.allow_tf32:
        torch.backends.cuda.matmul.allow_tf32 = True
    return Accelerator(
        gradient_accumulation_steps=args.gradient_accumulation_steps,
        mixed_precision=args.mixed_precision,
        log_with=None if args.report_to == "none" else args.report_to,
        project_dir=str(Path(args.output_dir) / args.logging_dir),
    )


def start_trackers(accelerator: Accelerator, args) -> None:
    """The reports, with the run's arguments but for the token, which is nobody else's business."""
    if args.report_to != "none":
        told = {name: str(value) for name, value in vars(args).items() if name != "hub_token"}
        accelerator.init_trackers(args.tracker_project_name, told)


def adamw(weights, args, samples: int) -> torch.optim.AdamW:
    """AdamW with the loop's options.

    Args:
        weights: a list, or parameter groups, which may have their own `weight_decay`.
        samples: of one optimizer step; `--scale_lr` multiplies the learning rate by them.
    """
    return torch.optim.AdamW(
        weights,
        lr=args.learning_rate * (samples if args.scale_lr else 1),
        betas=(args.adam_beta1, args.adam_beta2),
        weight_decay=args.adam_weight_decay,
        eps=args.adam_epsilon,
    )
