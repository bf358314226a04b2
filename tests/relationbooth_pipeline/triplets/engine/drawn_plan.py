"""A small plan against the mock endpoint, with masks that need no model."""

import importlib.util

import numpy as np
import pytest

from relationbooth_pipeline.parallel import Share
from relationbooth_pipeline.triplets.engine import WorkFolder
from relationbooth_pipeline.triplets.engine.asking import Manners
from relationbooth_pipeline.triplets.engine.budget import Caps
from relationbooth_pipeline.triplets.engine.make import STAGES, Making
from relationbooth_pipeline.triplets.engine.plan import Plan
from relationbooth_pipeline.triplets.generators import ImagesEndpoint

NEEDS_OPENAI = pytest.mark.skipif(importlib.util.find_spec("openai") is None, reason="needs the extra `data`")


class Halves:
    """The first object is the left half, the second the right one; without `misses`, both are found."""

    checkpoint = "halves"

    def __init__(self, work: WorkFolder, misses: tuple[str, ...] = ()):
        self.work, self.misses = work, misses

    def __call__(self, candidates):
        found = {}
        for candidate in candidates:
            width, height = self.work.picture(candidate.target).size
            left = np.zeros((height, width), dtype=bool)
            left[1:-1, 1 : width // 2] = True
            masks = [left, ~left][: len(candidate.phrases)]
            found[candidate.id] = [self.work.keep_mask(mask) for mask in masks]
            if candidate.id in self.misses:
                found[candidate.id][-1] = None
        return found


def small_plan(count: int = 5, **changes) -> Plan:
    fields = {
        "relation": "hugging",
        "template": "a {0} is hugging a {1}",
        "predicate": "hugging",
        "objects": (("cat", "bear"), ("fox", "owl")),
        "scenes": ("in a meadow", "at night", "on a beach", "in a studio", "in the rain"),
        "size": (16, 16),
        "count": count,
    }
    return Plan(**{**fields, **changes})


def making(
    address: str,
    plan: Plan | None = None,
    caps: Caps | None = None,
    manners: Manners | None = None,
    share: Share | None = None,
    stages: tuple[str, ...] = STAGES,
    timeout: float = 5.0,
) -> Making:
    generator = ImagesEndpoint("mock-image", base_url=address, timeout=timeout)
    manners = manners or Manners(workers=4, per_minute=100_000, tries=3, backoff=0.01)
    return Making(plan or small_plan(), generator, generator, caps or Caps(), manners, share or Share(), stages)


def run(work: WorkFolder, made: Making, say=lambda sentence: None, misses: tuple[str, ...] = ()):
    work.claim(made.claimed())
    return made.run(work, Halves(work, misses), lambda tally: None, say)


def contents(work: WorkFolder) -> dict[str, bytes]:
    """Every file but ledgers and locks, by name."""
    return {
        file.relative_to(work.root).as_posix(): file.read_bytes()
        for file in sorted(work.root.rglob("*"))
        if file.is_file() and not file.name.startswith("ledger") and not file.name.endswith(".lock")
    }
