"""Command-line options that every training script has: the loop, the optimizer, checkpoints and reports."""

import argparse
import math
import os
from collections.abc import Mapping
from typing import Any

from diffusers.utils import is_tensorboard_available, is_wandb_available

# A resumed run may differ in these: they change when it ends, where and how it reports, not what a step computes.
LOOP_FREE_ON_RESUME = {
    "max_train_steps", "num_train_epochs", "resume_from_checkpoint", "checkpointing_steps", "checkpoints_total_limit",
    "report_to", "logging_dir", "tracker_project_name", "output_dir", "gradient_checkpointing", "cache_dir",
}  # fmt: skip
# Schedules whose learning rate at a step depends on the run's length too, and those that go on for ever.
ENDING_SCHEDULES = ("linear", "cosine", "cosine_with_restarts", "polynomial")
SCHEDULES = ("constant", "constant_with_warmup", *ENDING_SCHEDULES)
PRECISIONS = ("no", "fp16", "bf16")
# Option, accelerate's variable for it, and its value when neither says anything; `accelerate launch` writes that
# value too when it is not told another one.
OF_LAUNCHER = (
    ("gradient_accumulation_steps", "ACCELERATE_GRADIENT_ACCUMULATION_STEPS", 1),
    ("mixed_precision", "ACCELERATE_MIXED_PRECISION", "no"),
)


def add(
    group: argparse._ArgumentGroup, name: str, kind: type = str, default: Any = None, *, help: str, **more: Any
) -> None:
    """`--name` on `group`; `kind` bool makes it a switch. The help text ends with the default: a `help` that has no
    "default: …" of its own gets the value."""
    if not more.get("required") and "default:" not in help:
        shown = "off" if kind is bool else "none" if default is None else default
        help = f"{help} (default: {shown})"
    action = {"action": "store_true"} if kind is bool else {"type": kind, "default": default}
    group.add_argument(f"--{name}", help=help.replace("%", "%%"), **action, **more)


def add_loop_options(parser: argparse.ArgumentParser, **defaults: Any) -> argparse._ArgumentGroup:
    """The group "training", returned to add to; `defaults` for `output_dir`, `train_batch_size`, `num_train_epochs`,
    `max_train_steps`, `learning_rate`, `adam_weight_decay`, `lr_warmup_steps` and `checkpointing_steps`."""
    loop = parser.add_argument_group("training")
    add(loop, "output_dir", default=defaults["output_dir"], help="folder of checkpoints and result")
    add(loop, "seed", int, 0, help="of order, views, noise and new weights")
    add(loop, "train_batch_size", int, defaults["train_batch_size"], help="samples on each device")
    add(loop, "gradient_accumulation_steps", int, help="batches of each device in one optimizer step; default: that of "
        "accelerate's launcher, else 1")  # fmt: skip
    epochs = "instead of max_train_steps" if defaults["max_train_steps"] else "unless max_train_steps is given"
    add(loop, "num_train_epochs", int, defaults["num_train_epochs"], help=f"passes through the data, {epochs}")
    add(loop, "max_train_steps", int, defaults["max_train_steps"], help="optimizer steps of the whole run")
    add(loop, "learning_rate", float, defaults["learning_rate"], help="of AdamW, after the warm-up")
    add(loop, "scale_lr", bool, help="multiply the learning rate by devices, accumulation and batch size")
    add(loop, "lr_scheduler", default="constant", choices=SCHEDULES, help="how the learning rate goes on")
    add(loop, "lr_warmup_steps", int, defaults["lr_warmup_steps"], help="steps in which the learning rate rises "
        "from 0, of every schedule but constant")  # fmt: skip
    add(loop, "adam_beta1", float, 0.9, help="decay of the gradient's running mean")
    add(loop, "adam_beta2", float, 0.999, help="decay of the squared gradient's running mean")
    add(loop, "adam_weight_decay", float, defaults["adam_weight_decay"], help="decoupled, as in AdamW")
    add(loop, "adam_epsilon", float, 1e-8, help="in AdamW's denominator")
    add(loop, "max_grad_norm", float, 1.0, help="longer gradients are cut to this norm")
    add(loop, "gradient_checkpointing", bool, help="less memory, about a third more time")
    add(loop, "allow_tf32", bool, help="faster float32 products on NVIDIA's Ampere and later")
    add(loop, "mixed_precision", choices=PRECISIONS, help="also the frozen weights' dtype; default: that of "
        "accelerate's launcher, else no")  # fmt: skip
    add(loop, "checkpointing_steps", int, defaults["checkpointing_steps"], help="steps between two checkpoints")
    add(loop, "checkpoints_total_limit", int, help="how many checkpoints to keep, at least 1; default: all")
    add(loop, "resume_from_checkpoint", help="latest, or checkpoint-<step>; default: a new run")
    return loop


def add_report_options(group: argparse._ArgumentGroup, project: str) -> None:
    add(group, "report_to", default="none", choices=("none", "tensorboard", "wandb"), help="where losses are logged")
    add(group, "logging_dir", default="logs", help="of the reports, in the output folder")
    add(group, "tracker_project_name", default=project, help="the reports' name")


def settle_with_launcher(
    parser: argparse.ArgumentParser, args: argparse.Namespace, environment: Mapping[str, str] = os.environ
) -> None:
    """Take over what accelerate's environment says, so that loop, accelerator and notes agree on one value.

    Stops with a message when option and environment name two values, or the environment one that no option has.
    """
    for name, variable, default in OF_LAUNCHER:
        told = environment.get(variable, "auto").strip().lower()
        if told == "auto":
            told = default
        elif isinstance(default, int):
            told = int(told) if told.isdigit() and int(told) >= 1 else parser.error(
                f"`{variable}` must be a whole number of at least 1, got {told!r}. Mend it, or unset it and give "
                f"`--{name}`."
            )  # fmt: skip
        elif told not in PRECISIONS:
            parser.error(f"`{variable}` must be one of {', '.join(PRECISIONS)} here, got {told!r}. Give `--{name}`.")
        given = getattr(args, name)
        if given not in (None, told) and told != default:
            parser.error(
                f"`--{name}` {given} and accelerate's environment (`{variable}` {told}) differ. Leave the option out "
                "to use the environment's, or give both the same value."
            )
        setattr(args, name, told if given is None else given)


def free_on_resume(args: argparse.Namespace, free: set[str]) -> set[str]:
    """`free` without the run's length where the learning rate follows it: another length would be another rate at
    every step, those before the checkpoint too."""
    return free - {"max_train_steps", "num_train_epochs"} if args.lr_scheduler in ENDING_SCHEDULES else free


def check_numbers(
    parser: argparse.ArgumentParser,
    args: argparse.Namespace,
    at_least_one: tuple[str, ...] = (),
    not_negative: tuple[str, ...] = (),
    positive: tuple[str, ...] = (),
) -> None:
    """Stop with a message unless the loop's numbers, and the named ones beside them, make sense."""
    for name, value in vars(args).items():
        if isinstance(value, float) and not math.isfinite(value):
            parser.error(f"`--{name}` must be a finite number, got {value}.")
    at_least_one += ("train_batch_size", "gradient_accumulation_steps", "max_train_steps", "num_train_epochs",
                     "checkpointing_steps")  # fmt: skip
    not_negative += ("learning_rate", "lr_warmup_steps", "adam_weight_decay", "seed")
    for names, rule, holds in (
        (at_least_one, "at least 1", lambda value: value >= 1),
        (not_negative, "at least 0", lambda value: value >= 0),
        ((*positive, "adam_epsilon", "max_grad_norm"), "greater than 0", lambda value: value > 0),
        (("adam_beta1", "adam_beta2"), "in [0, 1)", lambda value: 0 <= value < 1),
    ):
        for name in names:
            value = getattr(args, name)
            if value is not None and not holds(value):
                parser.error(f"`--{name}` must be {rule}, got {value}.")
    installed = {"none": True, "tensorboard": is_tensorboard_available(), "wandb": is_wandb_available()}
    if not installed[args.report_to]:
        parser.error(f"`--report_to {args.report_to}` needs the package: pip install {args.report_to}")
