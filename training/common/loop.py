"""The training loop: one optimizer step, all steps with checkpoints, and how a run ends before its time."""

import contextlib
import logging
import signal
from collections.abc import Callable

import torch
from accelerate import Accelerator
from tqdm import tqdm

from .checkpoints import Checkpoints, save_state

logger = logging.getLogger(__name__)
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
