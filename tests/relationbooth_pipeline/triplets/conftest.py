"""A triplet folder for every test; and small annotators leave nothing to collect."""

import pytest

from .folders import save_folder


@pytest.fixture
def folder(tmp_path):
    """A folder with one valid triplet of two objects that overlap."""
    return save_folder(tmp_path)


@pytest.fixture(autouse=True)
def nothing_to_collect(monkeypatch):
    """The collector would take most of these tests' time: everything that is imported is looked through."""
    from relationbooth_pipeline.triplets.annotation import stage
    from relationbooth_pipeline.triplets.generators import diffusers_pipeline

    for module in (stage, diffusers_pipeline):
        monkeypatch.setattr(module.gc, "collect", lambda: 0)
