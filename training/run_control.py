"""What every training run does beside training: its folder, its losses, and how it ends before its time."""

import contextlib
import json
import logging
import signal
from collections.abc import Callable
from pathlib import Path

import torch
from accelerate import Accelerator
from tqdm import tqdm

from .checkpoints import Checkpoints, check_writable, save_state

logger = logging.getLogger(__name__)
RUN_FILE = "training_arguments.json"
DTYPES = {"no": torch.float32, "fp16": torch.float16, "bf16": torch.bfloat16}
SIGTERM_STATUS = 128 + signal.SIGTERM


class TrainingDiverged(RuntimeError):
    """The loss is not finite; the message names step and samples."""


class LossHistory:
    """Mean losses of every step so far; part of each checkpoint."""

    def __init__(self):
        self.rows: list[dict[str, float]] = []

    def state_dict(self) -> dict:
        return {"rows": self.rows}

    def load_state_dict(self, state: dict) -> None:
        self.rows = state["rows"]


@contextlib.contextmanager
def noticing_sigterm():
    """Yields a list that is non-empty once SIGTERM arrived; schedulers of clusters send it before they kill."""
    seen: list[int] = []
    before = signal.signal(signal.SIGTERM, lambda number, frame: seen.append(number))
    try:
        yield seen
    finally:
        signal.signal(signal.SIGTERM, before)


def open_run(args, free_on_resume: set[str], result: str) -> int:
    """Check the output folder and note the arguments in it; the step to start from.

    Args:
        free_on_resume: names of arguments that a resumed run may give differently.
        result: the file in the output folder that tells of a finished run.
    Raises:
        ValueError: the folder is not writable, holds another run, or one with other arguments.
    """
    check_writable(args.output_dir)
    folder, checkpoints = Path(args.output_dir), Checkpoints(args.output_dir, args.checkpoints_total_limit)
    noted, mine = folder / RUN_FILE, {k: v for k, v in vars(args).items() if k not in free_on_resume}
    step = 0
    if args.resume_from_checkpoint:
        step = checkpoints.resume(args.resume_from_checkpoint) or 0
        if step and noted.exists():
            before = json.loads(noted.read_text())
            other = [f"--{k} {before.get(k)} → {v}" for k, v in mine.items() if before.get(k) != v]
            if other:
                raise ValueError(
                    f"`--resume_from_checkpoint` goes on with the run in `{folder}`, but these arguments differ: "
                    f"{', '.join(other)}. Give them as before, or choose another `--output_dir`."
                )
    elif checkpoints.steps() or (folder / result).exists():
        raise ValueError(
            f"`--output_dir` `{folder}` holds another run. Go on with it (`--resume_from_checkpoint latest`), or "
            "choose another folder."
        )
    temporary = folder / f".{RUN_FILE}.tmp"
    temporary.write_text(json.dumps(mine, indent=1))
    temporary.replace(noted)
    return step


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


def optimizer_step(
    accelerator: Accelerator, args, model, trained, optimizer, schedule, step: int, losses_of, name_of
) -> dict[str, float]:
    """Optimizer step `step` over all accumulated batches of all processes.

    Args:
        model: prepared; what accumulates. trained: its weights that train.
        schedule: a `BatchSchedule` of the whole step: batch by batch, and in each process by process.
        losses_of: the draws of one batch → (scalar, {"loss" and others: (B,), detached}).
        name_of: draw → what a message calls it.
    Returns:
        Mean of every entry of `losses_of`.
    Raises:
        TrainingDiverged: a sample's loss is not finite; names the samples, and nothing was changed by their batch.
    """
    draws, size, values = schedule.batch(step), args.train_batch_size, []
    for part in range(args.gradient_accumulation_steps):
        offset = part * accelerator.num_processes * size
        first = offset + accelerator.process_index * size
        with accelerator.accumulate(model):
            loss, parts = losses_of(draws[first : first + size])
            parts = {name: accelerator.gather(value) for name, value in parts.items()}
            if not torch.isfinite(parts["loss"]).all():
                bad = (~torch.isfinite(parts["loss"])).nonzero().flatten().tolist()
                names = sorted({name_of(draws[offset + i]) for i in bad})
                raise TrainingDiverged(f"the loss of step {step + 1} is not finite for {', '.join(names)}.")
            accelerator.backward(loss)
            if accelerator.sync_gradients:
                accelerator.clip_grad_norm_(trained, args.max_grad_norm)
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
        values.append(parts)
    return {name: torch.cat([parts[name] for parts in values]).mean().item() for name in values[0]}


def run_steps(
    accelerator: Accelerator,
    args,
    steps: range,
    run_step: Callable[[int], dict[str, float]],
    history: LossHistory,
    rate,
    after_step: Callable[[int], None] = lambda done: None,
    shown: tuple[str, ...] = ("loss",),
) -> None:
    """Every step of `steps`, with checkpoints, reports, and an orderly end after SIGTERM or a loss that is not finite.

    Args:
        run_step: step number, from 0 → its mean losses by name; raises `TrainingDiverged`.
        rate: the learning rate's schedule, already advanced by `run_step`.
        after_step: called with the number of finished steps.
        shown: the losses beside the progress bar.
    Raises:
        TrainingDiverged: with the checkpoint of the weights before the step.
        SystemExit: SIGTERM came; the state is saved.
    """
    checkpoints = Checkpoints(args.output_dir, args.checkpoints_total_limit)
    bar = tqdm(total=steps.stop, initial=steps.start, desc="steps", disable=not accelerator.is_main_process)
    with noticing_sigterm() as terminated:
        for step in steps:
            try:
                row = run_step(step)
            except TrainingDiverged as error:
                save_state(accelerator, checkpoints, step)
                raise TrainingDiverged(
                    f"{error} The weights before it are in `{checkpoints.path(step)}`. Lower `--learning_rate` or look "
                    "at these samples."
                ) from error
            history.rows.append(row)
            bar.update()
            bar.set_postfix({name: f"{row[name]:.4f}" for name in shown})
            accelerator.log({**row, "lr": rate.get_last_lr()[0]}, step=step + 1)
            done = step + 1
            stop = accelerator.gather(torch.tensor([len(terminated)], device=accelerator.device)).any().item()
            if done % args.checkpointing_steps == 0 or done == steps.stop or stop:
                save_state(accelerator, checkpoints, done)
            if stop:
                if accelerator.is_main_process:
                    logger.info(f"terminated after step {done}; `--resume_from_checkpoint latest` goes on")
                accelerator.end_training()
                raise SystemExit(SIGTERM_STATUS)
            after_step(done)
    bar.close()


def run_program(train: Callable, args) -> None:
    """`train(args)`, with plain log lines; what the user can mend ends the program as one line."""
    logging.basicConfig(format="%(message)s", level=logging.INFO)
    for chatty in ("httpx", "accelerate", "torch"):
        logging.getLogger(chatty).setLevel(logging.WARNING)
    try:
        train(args)
    except (ValueError, TrainingDiverged) as error:
        raise SystemExit(f"error: {error}") from error
