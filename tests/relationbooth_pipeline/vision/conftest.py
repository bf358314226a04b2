"""Tiny annotators, saved once for all tests."""

import pytest

from tests.relationbooth_pipeline.evaluation import tiny_metrics

from . import tiny_annotators


@pytest.fixture(scope="session")
def annotators(tmp_path_factory):
    """{kind: folder} of tiny real models."""
    root = tmp_path_factory.mktemp("annotators")
    made = {
        kind: getattr(tiny_annotators, f"tiny_{kind}")(root / kind) for kind in ("sam", "vitpose", "grounding_dino")
    }
    return made | {kind: getattr(tiny_metrics, f"tiny_{kind}")(root / kind) for kind in ("owl", "llava", "dino")}
