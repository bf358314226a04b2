"""Accelerator and signals, as the loop counts on them."""

import signal
import threading
from types import SimpleNamespace

import pytest
import torch
from accelerate.state import AcceleratorState, GradientState

from tests.training.conftest import relation_arguments
from training.common.accelerator import start_accelerator
from training.common.loop import TrainingDiverged, descend, noticing_sigterm
from training.common.options import LoopOptions, ReportOptions, options
from training.lora.arguments import parse_arguments


@pytest.fixture
def fresh_state():
    for state in (AcceleratorState, GradientState):
        state._reset_state()
    yield
    for state in (AcceleratorState, GradientState):
        state._reset_state()


def test_the_accelerator_accumulates_what_the_loop_gives_it(fresh_state, tmp_path, monkeypatch):
    """Also against the environment, which accelerate prefers to a bare number: else no step would ever be taken."""
    args = parse_arguments(relation_arguments("base", "data", tmp_path, gradient_accumulation_steps=2))
    monkeypatch.setenv("ACCELERATE_GRADIENT_ACCUMULATION_STEPS", "64")
    accelerator = start_accelerator(options(LoopOptions, args), options(ReportOptions, args))
    model = torch.nn.Linear(1, 1)
    model, optimizer = accelerator.prepare(model, torch.optim.SGD(model.parameters(), lr=0.1))
    moved = []
    for _ in range(4):
        before = model.weight.detach().clone()
        with accelerator.accumulate(model):
            accelerator.backward(model(torch.ones(1, 1)).sum())
            optimizer.step()
            optimizer.zero_grad()
        moved.append(not torch.equal(model.weight, before))
    assert moved == [False, True, False, True]


def test_runs_of_one_process_have_each_their_own_precision(fresh_state, tmp_path):
    for precision in ("bf16", "no", "bf16"):
        args = parse_arguments(relation_arguments("base", "data", tmp_path, mixed_precision=precision))
        accelerator = start_accelerator(options(LoopOptions, args), options(ReportOptions, args))
        assert accelerator.mixed_precision == precision


def test_sigterm_is_noticed_and_the_handler_given_back():
    before = signal.getsignal(signal.SIGTERM)
    with noticing_sigterm() as seen:
        signal.raise_signal(signal.SIGTERM)
        assert seen == [signal.SIGTERM]
    assert signal.getsignal(signal.SIGTERM) is before


def test_a_thread_trains_without_the_handler(caplog):
    """Python lets the main thread alone set one."""
    seen, before = [], signal.getsignal(signal.SIGTERM)

    def run():
        with noticing_sigterm() as terminated:
            seen.append((list(terminated), signal.getsignal(signal.SIGTERM)))

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    assert seen == [([], before)] and "training in a thread" in caplog.text


@pytest.mark.parametrize("scaler", [None, object()])
def test_an_infinite_gradient_is_left_to_the_scaler_where_there_is_one(scaler):
    """fp16's scaler skips such steps and scales less; without it the weights would be no numbers."""
    done = []
    run = SimpleNamespace(
        accelerator=SimpleNamespace(
            backward=lambda loss: None,
            sync_gradients=True,
            clip_grad_norm_=lambda weights, most: torch.tensor(float("inf")),
            scaler=scaler,
        ),
        optimizer=SimpleNamespace(step=lambda: done.append("step"), zero_grad=lambda set_to_none: None),
        trained=[],
        loop=SimpleNamespace(max_grad_norm=1.0),
    )
    if scaler is None:
        with pytest.raises(TrainingDiverged, match="the gradient of step 3 is not finite"):
            descend(run, torch.zeros(()), step=2)
    else:
        descend(run, torch.zeros(()), step=2)
    assert done == (["step"] if scaler else [])
