"""The training loop: one optimizer step, all steps with checkpoints, and how a run ends before its time."""

import contextlib
import logging
import math
import signal
import threading
from argparse import Namespace
from collections.abc import Callable, Iterator

import torch
from tqdm import tqdm

from .accelerator import Run
from .batch_order import BatchOrder, Draw
from .checkpoints import Checkpoints, save_state

logger = logging.getLogger(__name__)
SIGTERM_STATUS = 128 + signal.SIGTERM


class TrainingDiverged(RuntimeError):
    """A loss or a gradient is not finite; the message names the step, and of a loss the samples."""


@contextlib.contextmanager
def noticing_sigterm() -> Iterator[list[int]]:
    """Yields a list that is non-empty once SIGTERM arrived; schedulers of clusters send it before they kill.

    Only a process's main thread can notice signals: in another one the list stays empty, and the log says so.
    """
    seen: list[int] = []
    if threading.current_thread() is not threading.main_thread():
        logger.warning("training in a thread: SIGTERM will end the process without a last checkpoint")
        yield seen
        return
    before = signal.signal(signal.SIGTERM, lambda number, frame: seen.append(number))
    try:
        yield seen
    finally:
        signal.signal(signal.SIGTERM, before)


def optimizer_step(
    run: Run,
    order: BatchOrder,
    step: int,
    losses_of: Callable[[list[Draw]], tuple[torch.Tensor, dict[str, torch.Tensor]]],
    name_of: Callable[[Draw], str],
) -> dict[str, float]:
    """Optimizer step `step` over all accumulated batches of all processes, and the learning rate's next value.

    Args:
        order: of whole steps: batch by batch, and in each process by process.
        losses_of: the draws of one batch → (scalar, {"loss" and others: (B,), detached}).
        name_of: draw → what a message calls it.
    Returns:
        Mean of every entry of `losses_of`.
    Raises:
        TrainingDiverged: a sample's loss is not finite, or the gradient is; the weights are those before the step.
    """
    accelerator, size = run.accelerator, run.loop.train_batch_size
    draws, values = order.batch(step), []
    for part in range(run.loop.gradient_accumulation_steps):
        offset = part * accelerator.num_processes * size
        first = offset + accelerator.process_index * size
        with accelerator.accumulate(run.model):
            loss, parts = losses_of(draws[first : first + size])
            parts = {name: accelerator.gather(value) for name, value in parts.items()}
            if not torch.isfinite(parts["loss"]).all():
                bad = (~torch.isfinite(parts["loss"])).nonzero().flatten().tolist()
                names = sorted({name_of(draws[offset + i]) for i in bad})
                raise TrainingDiverged(f"the loss of step {step + 1} is not finite for {', '.join(names)}.")
            descend(run, loss, step)
        values.append(parts)
    run.rate.step()
    return {name: torch.cat([parts[name] for parts in values]).mean().item() for name in values[0]}


def descend(run: Run, loss: torch.Tensor, step: int) -> None:
    """Backward, and after a step's last batch the optimizer; inside `accelerator.accumulate`.

    Args:
        step: from 0, for the message.
    Raises:
        TrainingDiverged: the gradient is not finite; the weights are those before the step.
    """
    run.accelerator.backward(loss)
    if run.accelerator.sync_gradients:
        norm = run.accelerator.clip_grad_norm_(run.trained, run.loop.max_grad_norm)
        # fp16's scaler meets infinite gradients by design and skips their step; DeepSpeed may tell no norm.
        if run.accelerator.scaler is None and norm is not None and not math.isfinite(norm):
            raise TrainingDiverged(f"the gradient of step {step + 1} is not finite, though its losses are.")
    run.optimizer.step()
    run.optimizer.zero_grad(set_to_none=True)


def run_steps(
    run: Run,
    steps: range,
    run_step: Callable[[int], dict[str, float]],
    after_step: Callable[[int], None] = lambda done: None,
    shown: tuple[str, ...] = ("loss",),
) -> None:
    """Every step of `steps`, with checkpoints, reports, and an orderly end after SIGTERM or `TrainingDiverged`.

    Args:
        run_step: step number, from 0 → its mean losses by name; advances the learning rate; raises `TrainingDiverged`.
        after_step: called with the number of finished steps.
        shown: the losses beside the progress bar.
    Raises:
        TrainingDiverged: with the checkpoint of the weights before the step.
        SystemExit: SIGTERM came; the state is saved.
    """
    accelerator, loop = run.accelerator, run.loop
    checkpoints = Checkpoints(loop.output_dir, loop.checkpoints_total_limit)
    bar = tqdm(total=steps.stop, initial=steps.start, desc="steps", disable=not accelerator.is_main_process)
    with noticing_sigterm() as terminated:
        for step in steps:
            try:
                row = run_step(step)
            except TrainingDiverged as error:
                save_state(accelerator, checkpoints, step)
                raise TrainingDiverged(
                    f"{error} The weights before it are in `{checkpoints.path(step)}`. Lower `--learning_rate` in "
                    "a new folder, for a resumed run keeps it, or look at the samples."
                ) from error
            run.history.rows.append(row)
            bar.update()
            bar.set_postfix({name: f"{row[name]:.4f}" for name in shown})
            accelerator.log({**row, "lr": run.rate.get_last_lr()[0]}, step=step + 1)
            done = step + 1
            stop = accelerator.gather(torch.tensor([len(terminated)], device=accelerator.device)).any().item()
            if done % loop.checkpointing_steps == 0 or done == steps.stop or stop:
                save_state(accelerator, checkpoints, done)
            if stop:
                if accelerator.is_main_process:
                    logger.info(f"terminated after step {done}; `--resume_from_checkpoint latest` goes on")
                accelerator.end_training()
                raise SystemExit(SIGTERM_STATUS)
            after_step(done)
    bar.close()


def run_program(train: Callable[[Namespace], None], args: Namespace) -> None:
    """`train(args)`, with plain log lines; what the user can mend ends the program as one line."""
    logging.basicConfig(format="%(message)s", level=logging.INFO)
    for chatty in ("httpx", "accelerate", "torch"):
        logging.getLogger(chatty).setLevel(logging.WARNING)
    try:
        train(args)
    except (ValueError, TrainingDiverged) as error:
        raise SystemExit(f"error: {error}") from error
