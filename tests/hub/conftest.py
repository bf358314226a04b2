"""The miniature on a Hub of this machine, published as people publish, and clients as processes of their own."""

import os
from pathlib import Path

import pytest

from tests.forked import NO_HUB, ROOT, parent_of
from tests.hub.local_hub import LocalHub

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
        process = parent_of(*NO_HUB).start(["-c", code, *map(str, arguments)], known, cwd=home)
        status = process.wait(600)
        assert (status != 0) == fails, process.output()[-6000:]
        return process.output() if fails else process.stdout()

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
