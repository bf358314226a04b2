"""How the tests run the training programs: their arguments on tiny models, in processes of their own, refused."""

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from tests.forked import Fork, free_port, parent_of

ROOT = Path(__file__).parents[2]
PROGRAMS = ("train_relation_lora_sdxl", "train_relation_adapter_sdxl", "train_local_image_encoder")


def flags_of(values: dict) -> list[str]:
    """{name: value} as command-line flags; True is a switch, False and None leave the flag out."""
    flags = []
    for name, value in values.items():
        if value is not None and value is not False:
            flags += [f"--{name}"] if value is True else [f"--{name}", str(value)]
    return flags


def start(program: str, flags: list[str], **environment: str) -> Fork:
    """`training.<program>` in a process of its own, on as many threads as this one: sums keep their order."""
    known = {**os.environ, "OMP_NUM_THREADS": str(torch.get_num_threads()), "ACCELERATE_USE_CPU": "true"}
    parent = parent_of(*(f"training.{name}" for name in PROGRAMS), "datasets", "tensorboard.compat.proto.event_pb2")
    return parent.start(["-m", f"training.{program}", *flags], known | environment)


def start_two(program: str, flags: list[str]) -> list[Fork]:
    """Two ranks of one run, told what torchrun tells them."""
    port = str(free_port())
    shared = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, "WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2"}
    return [start(program, flags, **shared, RANK=rank, LOCAL_RANK=rank) for rank in ("0", "1")]


def under_torchrun(program: str, flags: list[str]) -> str:
    """What two ranks print that torchrun itself started."""
    # `accelerate launch --cpu --num_processes 2` starts one process (accelerate 1.15), torchrun two.
    launcher = ["-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2", "-m"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "ACCELERATE_USE_CPU": "true"}
    command = [sys.executable, *launcher, f"training.{program}", *flags]
    done = subprocess.run(command, env=environment, cwd=ROOT, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


def finish(*processes: Fork) -> str:
    """What processes that end well have printed."""
    for process in processes:
        assert process.wait() == 0, process.output()
    return "".join(process.output() for process in processes)


def assert_same_bits(folder: Path, other: Path, file: str) -> None:
    """The safetensors file of both folders holds the same tensors."""
    expected, found = load_file(other / file), load_file(folder / file)
    assert expected.keys() == found.keys()
    for name, tensor in expected.items():
        assert torch.equal(found[name], tensor), name


def terminate_in(script, loss_name: str, flags: list[str], monkeypatch, calls: int = 1) -> None:
    """Run a program that gets SIGTERM at call number `calls` of its loss, the function `loss_name` of its module."""
    loss, seen = getattr(script, loss_name), []

    def terminated(*arguments):
        seen.append(arguments)
        if len(seen) == calls:
            os.kill(os.getpid(), signal.SIGTERM)
        return loss(*arguments)

    with monkeypatch.context() as patch:
        patch.setattr(script, loss_name, terminated)
        with pytest.raises(SystemExit) as caught:
            script.main(flags)
    assert caught.value.code == 128 + signal.SIGTERM


@contextlib.contextmanager
def one_byte_more(file: Path) -> Iterator[None]:
    """Inside, a picture or a file of weights has another digest; pictures open as before."""
    before = file.read_bytes()
    file.write_bytes(before + b"\0")
    try:
        yield
    finally:
        file.write_bytes(before)


class Refusal(Exception):
    """A model is being loaded although the arguments should have been refused."""


def refuse_loading(*args, **kwargs):
    raise Refusal("a model is being loaded")


def refused(script, flags: list[str], capsys) -> str:
    """What a program says that ends without starting."""
    with pytest.raises(SystemExit) as caught:
        script.main(flags)
    return f"{caught.value} {capsys.readouterr().err}"
