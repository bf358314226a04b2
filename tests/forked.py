"""Processes of tests that need not import torch again: forks of one process that has imported once what they share.

Importing torch, diffusers, transformers and peft takes longer than most of what is tried here, and many tests need
processes of their own: to be killed, to be two ranks, to know another Hub. Output goes to a file, not through a pipe.
"""

import atexit
import functools
import importlib
import json
import os
import runpy
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import traceback
from pathlib import Path

ROOT = Path(__file__).parents[1]
# What diffusers, transformers and peft bring in that knows no Hub: huggingface_hub reads its environment when imported.
NO_HUB = (
    "torch",
    "torch._dynamo",
    "torch.distributed.fsdp",
    "torch.distributed.tensor",
    "scipy.stats",
    "scipy.optimize",
)


class Fork:
    """A running process; what `subprocess.Popen` tells of one."""

    def __init__(self, parent: "Parent", pid: int, printed: Path):
        self.parent, self.pid, self.printed, self.returncode = parent, pid, printed, None

    def poll(self) -> int | None:
        if self.returncode is None:
            self.returncode = self.parent.ask({"poll": self.pid})
        return self.returncode

    def wait(self, timeout: float = 300) -> int:
        """Its exit status, negative for a signal."""
        end = time.monotonic() + timeout
        while self.poll() is None:
            if time.monotonic() > end:
                self.kill()
                raise TimeoutError(f"still running after {timeout} s: {self.output()}")
            time.sleep(0.02)
        return self.returncode

    def stdout(self) -> str:
        return self.printed.with_suffix(".out").read_text(encoding="utf-8", errors="replace")

    def output(self) -> str:
        """What it has printed so far, standard output first."""
        return self.stdout() + self.printed.with_suffix(".err").read_text(encoding="utf-8", errors="replace")

    def send_signal(self, number: int) -> None:
        if self.poll() is None:
            os.kill(self.pid, number)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)


class Parent:
    """The process that forks; it ends with this one, for its input is closed then."""

    def __init__(self, modules: tuple[str, ...]):
        known = os.environ.get("PYTHONPATH")
        paths = os.pathsep.join([str(ROOT), *([known] if known else [])])
        environment = {**os.environ, "PYTHONPATH": paths, "OMP_NUM_THREADS": "1"}
        command = [sys.executable, "-m", "tests.forked", *modules]
        self.lock, self.folder = threading.Lock(), tempfile.TemporaryDirectory(prefix="forked-")
        self.process = subprocess.Popen(
            command, cwd=ROOT, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        self.started = 0

    def ask(self, request: dict):
        with self.lock:
            self.process.stdin.write(json.dumps(request) + "\n")
            self.process.stdin.flush()
            return json.loads(self.process.stdout.readline())

    def start(self, arguments: list[str], environment: dict[str, str], cwd: Path = ROOT) -> Fork:
        """As `python arguments` (-m module …, or -c code …) with all of this environment, in the folder `cwd`."""
        self.started += 1
        printed = Path(self.folder.name) / str(self.started)
        for stream in (".out", ".err"):
            printed.with_suffix(stream).touch()
        request = {"arguments": arguments, "environment": environment, "cwd": str(cwd), "printed": str(printed)}
        return Fork(self, self.ask(request), printed)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@functools.cache
def parent_of(*modules: str) -> Parent:
    """The one of this process that has imported these modules."""
    return Parent(modules)


def own_locks() -> None:
    """In a fork that may be killed: tqdm's lock is shared by all forks, and whoever dies with it stops the others."""
    from tqdm import tqdm

    tqdm.set_lock(threading.RLock())


def _run(request: dict) -> None:
    """In the fork: become what was asked for, to its end."""
    streams = (os.devnull, request["printed"] + ".out", request["printed"] + ".err")
    for number, path in enumerate(streams):
        os.dup2(os.open(path, os.O_APPEND | (os.O_WRONLY if number else os.O_RDONLY)), number)
    own_locks()
    os.environ.clear()
    os.environ.update(request["environment"])
    os.chdir(request["cwd"])
    kind, what, *arguments = request["arguments"]
    sys.argv, code = [what if kind == "-m" else kind, *arguments], 0
    try:
        if kind == "-m":
            runpy.run_module(what, run_name="__main__", alter_sys=True)
        else:
            exec(compile(what, "<string>", "exec"), {"__name__": "__main__"})
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else int(end.code is not None)
        if code == 1 and end.code != 1:
            print(end.code, file=sys.stderr)
    except BaseException:
        traceback.print_exc()
        code = 1
    finally:
        atexit._run_exitfuncs()
        sys.stdout.flush(), sys.stderr.flush()
        os._exit(code)


def _answer(request: dict, children: set[int]):
    if "poll" in request:
        if request["poll"] not in children:
            return 0
        pid, status = os.waitpid(request["poll"], os.WNOHANG)
        if not pid:
            return None
        children.discard(pid)
        return os.waitstatus_to_exitcode(status)
    child = os.fork()
    if child == 0:
        _run(request)
    children.add(child)
    return child


def main() -> None:
    for module in sys.argv[1:]:
        importlib.import_module(module)
    children = set()
    for line in sys.stdin:
        print(json.dumps(_answer(json.loads(line), children)), flush=True)
    for child in children:
        os.kill(child, signal.SIGKILL)


if __name__ == "__main__":
    main()
