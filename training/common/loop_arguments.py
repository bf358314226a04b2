"""Command-line options that every training script has: the loop, the optimizer, checkpoints and reports."""

import argparse

from diffusers.utils import is_tensorboard_available, is_wandb_available

# A resumed run may differ in these: they change when it ends, where and how it reports, not what a step computes.
LOOP_FREE_ON_RESUME = {
    "max_train_steps", "num_train_epochs", "resume_from_checkpoint", "checkpointing_steps", "checkpoints_total_limit",
    "report_to", "logging_dir", "tracker_project_name", "output_dir", "gradient_checkpointing", "cache_dir",
}  # fmt: skip


def add(group, name: str, kind=str, default=None, help: str = "", **more) -> None:
    """`--name` on `group`; `kind` bool makes it a switch."""
    action = {"action": "store_true"} if kind is bool else {"type": kind, "default": default}
    group.add_argument(f"--{name}", help=help or " ", **action, **more)


def add_loop_options(parser: argparse.ArgumentParser, **defaults):
    """The group "training", returned to add to; `defaults` for `output_dir`, `train_batch_size`, `num_train_epochs`,
    `max_train_steps`, `learning_rate`, `adam_weight_decay`, `lr_warmup_steps` and `checkpointing_steps`."""
    loop = parser.add_argument_group("training")
    add(loop, "output_dir", default=defaults["output_dir"])
    add(loop, "seed", int, 0)
    add(loop, "train_batch_size", int, defaults["train_batch_size"], "samples on each device")
    add(loop, "gradient_accumulation_steps", int, 1)
    epochs = "instead of max_train_steps" if defaults["max_train_steps"] else "unless max_train_steps is given"
    add(loop, "num_train_epochs", int, defaults["num_train_epochs"], epochs)
    add(loop, "max_train_steps", int, defaults["max_train_steps"])
    add(loop, "learning_rate", float, defaults["learning_rate"])
    add(loop, "scale_lr", bool, help="multiply the learning rate by devices, accumulation and batch size")
    add(loop, "lr_scheduler", default="constant", help="constant, constant_with_warmup, linear, cosine, …")
    add(loop, "lr_warmup_steps", int, defaults["lr_warmup_steps"])
    add(loop, "adam_beta1", float, 0.9)
    add(loop, "adam_beta2", float, 0.999)
    add(loop, "adam_weight_decay", float, defaults["adam_weight_decay"])
    add(loop, "adam_epsilon", float, 1e-8)
    add(loop, "max_grad_norm", float, 1.0)
    add(loop, "gradient_checkpointing", bool, help="less memory, about a third more time")
    add(loop, "allow_tf32", bool)
    add(loop, "mixed_precision", default="no", choices=("no", "fp16", "bf16"), help="also the frozen weights' dtype")
    add(loop, "checkpointing_steps", int, defaults["checkpointing_steps"])
    add(loop, "checkpoints_total_limit", int, help="how many checkpoints to keep, at least 1; default: all")
    add(loop, "resume_from_checkpoint", help="latest, or checkpoint-<step>")
    return loop


def add_report_options(group, project: str) -> None:
    add(group, "report_to", default="none", choices=("none", "tensorboard", "wandb"))
    add(group, "logging_dir", default="logs")
    add(group, "tracker_project_name", default=project)


def check_numbers(parser: argparse.ArgumentParser, args, at_least_one=(), not_negative=()) -> None:
    """Stop with a message unless the loop's numbers, and the named ones beside them, make sense."""
    loop = ("train_batch_size", "gradient_accumulation_steps", "max_train_steps", "num_train_epochs",
            "checkpointing_steps")  # fmt: skip
    for names, least in (((*loop, *at_least_one), 1), (("learning_rate", *not_negative), 0)):
        for name in names:
            value = getattr(args, name)
            if value is not None and not value >= least:
                parser.error(f"`--{name}` must be at least {least}, got {value}.")
    installed = {"none": True, "tensorboard": is_tensorboard_available(), "wandb": is_wandb_available()}
    if not installed[args.report_to]:
        parser.error(f"`--report_to {args.report_to}` needs the package: pip install {args.report_to}")
