"""The page on the miniature, served in this process; left out without gradio."""

import importlib.util
import os
import tempfile
from pathlib import Path

import pytest

from relationbooth_pipeline import miniature
from relationbooth_pipeline.app.actions import Actions
from relationbooth_pipeline.app.results import Results
from relationbooth_pipeline.app.server import build, launch
from relationbooth_pipeline.app.studio import Studio

# A skip here would end the whole run: pytest allows none while it reads a conftest.
collect_ignore_glob = [] if importlib.util.find_spec("gradio") else ["test_*.py"]
REFERENCES = Path(miniature.__path__[0]) / "weights" / "references"
PHOTOS = [str(REFERENCES / "cat.png"), str(REFERENCES / "bear.png")]
REQUEST = {
    "prompt": "a cat is hugging a bear in a meadow",
    "phrase": ["cat", "bear"],
    "box": [[0.0, 0.2, 0.55, 0.95], [0.45, 0.2, 1.0, 0.95]],
    "steps": 2,
    "seed": 3,
}


@pytest.fixture(scope="session")
def studio():
    found = Studio()
    found.load()
    return found


@pytest.fixture
def actions(studio, tmp_path):
    return Actions(studio, Results(studio, tmp_path / "served"))


@pytest.fixture(scope="session")
def address(studio):
    """Of a running page whose results nobody keeps."""
    with tempfile.TemporaryDirectory(prefix="relationbooth-test-") as served:
        os.environ |= {"GRADIO_ANALYTICS_ENABLED": "False", "GRADIO_TEMP_DIR": served}
        app = build(studio, Path(served))
        try:
            yield launch(app, "127.0.0.1", None, None)
        finally:
            app.close(verbose=False)


@pytest.fixture
def client(address):
    from gradio_client import Client

    return Client(address, verbose=False)
