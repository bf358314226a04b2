"""Tiny models, saved once for all tests of metrics."""

import pytest

from . import tiny_metrics


@pytest.fixture(scope="session")
def models(tmp_path_factory):
    """{kind: folder} of a tiny CLIP, DINO, OWLv2 and LLaVA."""
    root = tmp_path_factory.mktemp("models")
    kinds = ("clip", "dino", "owl", "llava")
    return {kind: getattr(tiny_metrics, f"tiny_{kind}")(root / kind) for kind in kinds}
