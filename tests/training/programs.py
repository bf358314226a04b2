"""How the tests run the training programs: their arguments on tiny models, in processes of their own, refused."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

ROOT = Path(__file__).parents[2]


def flags_of(values: dict) -> list[str]:
    """{name: value} as command-line flags; True is a switch, False and None leave the flag out."""
    flags = []
    for name, value in values.items():
        if value is not None and value is not False:
            flags += [f"--{name}"] if value is True else [f"--{name}", str(value)]
    return flags


def start(program: str, flags: list[str], launcher=("-m",)) -> subprocess.Popen:
    """`training.<program>` in a process of its own, on as many threads as this one: sums keep their order."""
    environment = {
        **os.environ,
        "PYTHONPATH": str(ROOT),
        "OMP_NUM_THREADS": str(torch.get_num_threads()),
        "ACCELERATE_USE_CPU": "true",
    }
    command = [sys.executable, *launcher, f"training.{program}", *flags]
    return subprocess.Popen(command, env=environment, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)


def finish(process: subprocess.Popen) -> str:
    """What a process that ends well has printed."""
    output = process.communicate(timeout=300)[0].decode()
    assert process.returncode == 0, output
    return output


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


class Refusal(Exception):
    """A model is being loaded although the arguments should have been refused."""


def refuse_loading(*args, **kwargs):
    raise Refusal("a model is being loaded")


def refused(script, flags: list[str], capsys) -> str:
    """What a program says that ends without starting."""
    with pytest.raises(SystemExit) as caught:
        script.main(flags)
    return f"{caught.value} {capsys.readouterr().err}"
