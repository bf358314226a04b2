"""`kill -9` at random moments of a run: what comes out is what an unbroken run gives, and nothing is paid twice."""

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from relationbooth_pipeline.triplets.engine import WorkFolder

from .drawn_plan import NEEDS_OPENAI, contents, making, run
from .mock_endpoint import MockEndpoint
from .test_asking import counted, lines

pytestmark = [NEEDS_OPENAI, pytest.mark.skipif(not hasattr(os, "fork"), reason="kill -9 is of Unix")]
ROOT = Path(__file__).parents[4]
KILLS = 20


@pytest.fixture(scope="module")
def runner():
    """Starts a run in a folder; (its process, a function that waits for its end)."""
    command = [sys.executable, "-m", "tests.relationbooth_pipeline.triplets.engine.killed_run"]
    with subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout.readline() == "ready\n"

        def start(work, mock):
            process.stdin.write(f"{work.root} {mock.address}\n")
            process.stdin.flush()
            return int(process.stdout.readline()), lambda: int(process.stdout.readline())

        yield start
        process.stdin.close()


def killed_at_a_random_moment(runner, work, mock, rng):
    """Whether a run was killed, soon after it had sent up to eight requests; else it came to its end."""
    sent = len(mock.asked) + rng.randint(0, 8)
    child, wait = runner(work, mock)
    end = time.monotonic() + 20
    while len(mock.asked) < sent and time.monotonic() < end and Path(f"/proc/{child}").exists():
        time.sleep(0.002)
    time.sleep(rng.uniform(0.0, 0.03))
    try:
        os.kill(child, signal.SIGKILL)
    except ProcessLookupError:
        pass
    return os.WIFSIGNALED(wait())


@pytest.mark.parametrize("knows_keys", [True, False])
def test_twenty_kills_leave_what_an_unbroken_run_leaves(runner, tmp_path, knows_keys):
    rng, mock = random.Random(knows_keys), MockEndpoint(knows_keys, delay=0.01)
    unbroken = WorkFolder(tmp_path / "unbroken")
    run(unbroken, making(mock.address))
    kills = 0
    for number in range(KILLS):
        mock.paid.clear()
        work = WorkFolder(tmp_path / f"killed_{number}")
        while kills < KILLS and killed_at_a_random_moment(runner, work, mock, rng):
            kills += 1
        _, wait = runner(work, mock)
        assert wait() == 0
        assert contents(work) == contents(unbroken)
        done = [line["key"] for line in lines(work) if line["status"] == "done"]
        assert len(done) == len({*done}) == 30
        if knows_keys:
            assert sum(mock.paid.values()) == 30 and max(mock.paid.values()) == 1
        assert sum(mock.paid.values()) <= counted(work)  # what may have been paid is never thought unpaid
        if kills == KILLS:
            break
    assert kills == KILLS


def test_a_torn_line_is_dropped_and_said(tmp_path):
    mock, work, said = MockEndpoint(), WorkFolder(tmp_path / "work"), []
    run(work, making(mock.address))
    ledger = work.root / "ledger.jsonl"
    whole = ledger.read_bytes()
    last = json.loads(whole.splitlines()[-1])
    ledger.write_bytes(whole[:-9])  # within the last "done": its picture is there
    found = run(work, making(mock.address), said.append)
    assert len(found) == 10 and len(mock.asked) == 30
    assert "the ledger's last line was torn" in said[0]
    kept = [line for line in lines(work) if line["key"] == last["key"] and line["status"] == "done"]
    assert [line["picture"] for line in kept] == [last["picture"]] and kept[0]["recovered"] is True
