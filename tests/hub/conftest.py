"""The miniature on a Hub of this machine, published as people publish, and clients as processes of their own."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.hub.local_hub import LocalHub

ROOT = Path(__file__).parents[2]
NAME = "org/relationbooth-miniature"


@pytest.fixture(scope="session")
def hub():
    with LocalHub() as found:
        yield found


@pytest.fixture(scope="session")
def client(hub):
    """Runs Python in a new process that knows this Hub alone; huggingface_hub reads its environment when imported."""

    def run(code: str, home: Path, *arguments, fails: bool = False, **environment) -> str:
        known = {name: os.environ[name] for name in ("PATH", "OMP_NUM_THREADS", "HOME") if name in os.environ}
        known |= hub.environment(home) | {"PYTHONPATH": str(ROOT)} | environment
        command = [sys.executable, "-c", code, *map(str, arguments)]
        done = subprocess.run(command, cwd=home, env=known, capture_output=True, text=True, timeout=600)
        assert (done.returncode != 0) == fails, done.stdout[-2000:] + done.stderr[-4000:]
        return done.stdout + (done.stderr if fails else "")

    return run


PUBLISH = """
import sys
from pathlib import Path
from hub_cards.publish import main

folder = Path(sys.argv[1]) / "relationbooth-miniature"
assert main(["export", str(folder)]) == 0
assert main(["upload", str(folder), sys.argv[2]]) == 0
"""


@pytest.fixture(scope="session")
def published(hub, client, tmp_path_factory):
    """Folder of the exported miniature, which is on the Hub as `NAME`."""
    home = tmp_path_factory.mktemp("publisher")
    client(PUBLISH, home, home, NAME)
    hub.log.clear()
    return home / "relationbooth-miniature"
