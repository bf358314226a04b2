"""The loop that every stage shares: Muon beside AdamW, averaged weights, checkpoints; device and precision."""

import contextlib
import math
import random
import time
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch
from tqdm import tqdm

from relationbooth_pipeline.relation_files import whole_file

from ..optimization.muon import Muon, muon_groups, split_parameters
from ..optimization.step_graphs import StepGraphs


def default_device():
    return "cuda" if torch.cuda.is_available() else "cpu"


def faster_precision(device):
    """ "bf16" where a device multiplies bfloat16 matrices faster than float32, else "no", as a CPU without instructions
    for it: measured, in some hundredths of a second."""

    def seconds(dtype):
        matrix, times = torch.randn(512, 512, device=device, dtype=dtype), []
        for _ in range(5):
            start = time.perf_counter()
            (matrix @ matrix).sum().item()  # waits for a GPU
            times.append(time.perf_counter() - start)
        return min(times)

    return "bf16" if seconds(torch.bfloat16) < seconds(torch.float32) else "no"


def mixed_precision(name=None, device=None):
    """Callable that gives the autocast context of "bf16" or "no" on a device.

    Args:
        name: None: the faster one. device: None: a GPU where there is one.
    """
    device = torch.device(device or default_device())
    if (name or faster_precision(device)) == "no":
        return contextlib.nullcontext
    return lambda: torch.autocast(device.type, torch.bfloat16)


@dataclass
class TrainingPlan:
    """How long and how fast a stage trains.

    Attributes:
        max_train_steps: optimizer steps in all. learning_rate: AdamW's. muon_learning_rate: Muon's.
        warmup_steps: linear. constant_share: share of the steps before the cosine tail. final_share: of the rate, last.
        ema_decay: of the averaged weights; 0 keeps none. seed: of every draw.
        checkpointing_steps, sample_steps: intervals, steps.
        max_train_seconds: leave after this long, resumable; 0 never.
        device: where modules and batches go. dataloader_num_workers: processes that draw what it trains on.
        cuda_graphs: on a GPU, stages that tell batches from losses replay each kind of step as one graph.
    """

    max_train_steps: int
    learning_rate: float = 1e-3
    muon_learning_rate: float = 0.01
    betas: tuple = (0.9, 0.98)
    warmup_steps: int = 80
    constant_share: float = 0.5
    final_share: float = 0.03
    ema_decay: float = 0.0
    seed: int = 0
    checkpointing_steps: int = 250
    sample_steps: int = 1000
    max_train_seconds: float = 0.0
    device: str = "cpu"
    dataloader_num_workers: int = 0
    cuda_graphs: bool = True

    def rate(self, step):
        """Factor of the learning rates at `step`."""
        warm = min(1.0, (step + 1) / max(1, self.warmup_steps))
        progress = (step / self.max_train_steps - self.constant_share) / max(1e-9, 1 - self.constant_share)
        cosine = 0.5 * (1 + math.cos(math.pi * min(1.0, max(0.0, progress))))
        return warm * max(self.final_share, cosine)


READING_STEPS = 10  # between two looks at loss and figures: a GPU has to be waited for


class Trainer:
    """Trains {name: module} by a callable that returns (scalar loss, {figure name: value}).

    Every draw of step k depends on the seed and k alone, so on a CPU a resumed run repeats an unbroken one bit for bit.
    """

    def __init__(self, modules, plan, output_dir):
        self.modules, self.plan, self.output_dir = modules, plan, Path(output_dir)
        for module in modules.values():
            module.to(plan.device)
        self.output_dir.mkdir(parents=True, exist_ok=True)
        muon, adamw = split_parameters(modules)
        self.weights = {**muon, **adamw}
        self.on_gpu = torch.device(plan.device).type == "cuda"
        self.adamw = torch.optim.AdamW(
            list(adamw.values()), betas=plan.betas, weight_decay=1e-3, **self._rate(), capturable=self.on_gpu
        )
        self.muon = Muon(muon_groups(muon), **self._rate()) if muon else None
        self.average = {name: p.detach().clone() for name, p in self.weights.items()} if plan.ema_decay else None
        self._raw = [p.detach() for p in self.weights.values()]  # in the order of `average`
        self.step = 0
        self._resume()

    def _rate(self):
        """A learning rate to be filled in: a recorded step reads it from the GPU's memory."""
        return {"lr": torch.zeros((), device=self.plan.device) if self.on_gpu else 0.0}

    def _fill_rates(self, factor):
        for optimizer, rate in ((self.adamw, self.plan.learning_rate), (self.muon, self.plan.muon_learning_rate)):
            for group in optimizer.param_groups if optimizer is not None else ():
                if self.on_gpu:
                    group["lr"].fill_(rate * factor)
                else:
                    group["lr"] = rate * factor

    @property
    def checkpoint_path(self):
        return self.output_dir / "checkpoint.pt"

    def _resume(self):
        if not self.checkpoint_path.exists():
            return
        state = torch.load(self.checkpoint_path, map_location="cpu", weights_only=True)
        try:
            self._restore(state)
        except (KeyError, RuntimeError, TypeError, ValueError) as error:
            raise ValueError(
                f"{self.checkpoint_path} does not fit what trains here: {error}. It belongs to another stage, plan or "
                "version: give a new output folder, or delete this file to start over."
            ) from error

    @torch.no_grad()
    def _restore(self, state):
        for key, module in self.modules.items():
            module.load_state_dict(state["modules"][key])
        for name, average in (self.average or {}).items():
            average.copy_(state["average"][name])
        for group in state["adamw"]["param_groups"]:
            group["capturable"] = self.on_gpu  # which also decides where AdamW's step counters go
        self.adamw.load_state_dict(state["adamw"])
        if self.muon is not None:
            self.muon.load_state_dict(state["muon"])
        for optimizer in (self.adamw, self.muon):
            for group in optimizer.param_groups if optimizer is not None else ():
                group.update(self._rate())
        self.step = state["step"]

    def save(self):
        state = {"step": self.step, "adamw": self.adamw.state_dict(), "average": self.average}
        state["modules"] = {key: module.state_dict() for key, module in self.modules.items()}
        if self.muon is not None:
            state["muon"] = self.muon.state_dict()
        with whole_file(self.checkpoint_path) as path:
            torch.save(state, path)

    def run(self, loss_of, after_interval=None, batch_of=None):
        """Train to the plan's end, or to its time limit.

        Args:
            loss_of: callable(step, rng), or, with `batch_of`, callable(batch), free of draws of its own.
            after_interval: callable(step), run with averaged weights every `sample_steps`.
            batch_of: callable(step, rng) → {name: tensor on the plan's device}: all that a step draws.
        Returns:
            whether the plan's last step was reached.
        """
        start, running = time.monotonic(), None
        draw, compute = batch_of or (lambda *at: at), loss_of if batch_of else (lambda at: loss_of(*at))
        update = partial(self._update, loss_of=compute)
        if batch_of and self.on_gpu and self.plan.cuda_graphs:
            update = StepGraphs(update, list(self.weights.values()))
        bar = tqdm(total=self.plan.max_train_steps, initial=self.step, mininterval=10, dynamic_ncols=True)
        while self.step < self.plan.max_train_steps:
            if self.plan.max_train_seconds and time.monotonic() - start > self.plan.max_train_seconds:
                break
            loss, figures = self._one_step(draw, update)
            is_last = self.step == self.plan.max_train_steps
            if self.step % READING_STEPS == 0 or is_last or running is None:
                running = loss.item() if running is None else 0.75 * running + 0.25 * loss.item()
                shown = {key: f"{float(value):.3f}" for key, value in figures.items()}
                bar.set_postfix(loss=f"{running:.4f}", **shown, refresh=False)
            bar.update()
            # Before the checkpoint: killed in its last call, which writes the result, a run makes that call again.
            if after_interval is not None and (self.step % self.plan.sample_steps == 0 or is_last):
                self.with_average(lambda: after_interval(self.step))
            if self.step % self.plan.checkpointing_steps == 0 or is_last:
                self.save()
        bar.close()
        self.save()
        return self.step >= self.plan.max_train_steps

    def _one_step(self, draw, update):
        seed = self.plan.seed * 1_000_003 + self.step  # a prime apart, so that neighbouring seeds share no step
        torch.manual_seed(seed)
        self._fill_rates(self.plan.rate(self.step))
        loss, figures = update(draw(self.step, random.Random(seed)))
        self.step += 1
        if self.average is not None:
            decay = min(self.plan.ema_decay, self.step / (self.step + 9))  # short memory at the start
            torch._foreach_lerp_(list(self.average.values()), self._raw, 1 - decay)
        return loss, figures

    def _update(self, batch, loss_of):
        """One step of both optimizers; (loss, figures) of what was before it, nothing of them read yet."""
        loss, figures = loss_of(batch)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(list(self.weights.values()), 1.0)
        for optimizer in (self.adamw, self.muon):
            if optimizer is not None:
                optimizer.step()
                optimizer.zero_grad(set_to_none=True)
        return loss.detach(), figures

    @torch.no_grad()
    def with_average(self, action):
        """Run `action()` while the modules hold the averaged weights, in eval mode, then restore them."""
        raw = {name: p.detach().clone() for name, p in self.weights.items()}
        generator_state = torch.get_rng_state()
        for name, p in self.weights.items():
            if self.average is not None:
                p.copy_(self.average[name])
        for module in self.modules.values():
            module.eval()
        try:
            return action()
        finally:
            for name, p in self.weights.items():
                p.copy_(raw[name])
            for module in self.modules.values():
                module.train()
            torch.set_rng_state(generator_state)
