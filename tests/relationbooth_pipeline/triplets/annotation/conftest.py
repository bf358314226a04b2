"""Blocks of colour leave nothing to collect: the collector would take most of these tests' time."""

import pytest

from relationbooth_pipeline.triplets.annotation import stage


@pytest.fixture(autouse=True)
def nothing_to_collect(monkeypatch):
    monkeypatch.setattr(stage.gc, "collect", lambda: 0)
