"""Agreement of metrics with judges on generated pictures: an AUC of pairs, and an identity that one word can break."""

import random
from dataclasses import replace

import numpy as np
import pytest

pytest.importorskip("skia", reason="skia-python, which draws the miniature's world, is not installed")

from PIL import Image

from relationbooth_pipeline.evaluation.metrics import Column, Scores, Value
from relationbooth_pipeline.evaluation.metrics.detection import detector
from relationbooth_pipeline.miniature.judges import MiniatureJudges
from tests.relationbooth_pipeline.evaluation.tiny_bench import pair
from training.miniature.measure.generated_validity import agreement, identity_right
from training.miniature.world.identities import named_character
from training.miniature.world.rendering import render


def test_agreement_counts_pairs_of_right_and_wrong_pictures_of_all_systems():
    rng = np.random.default_rng(0)
    column = Column("broken", "x", higher_is_better=False)
    figures = {s: {f"c{i}": rng.random(2).round(1) for i in range(6)} for s in ("one", "two")}
    truth = {s: {c: (rng.random(2) > 0.5).tolist() for c in cases} for s, cases in figures.items()}
    values = {s: {c: {"broken": [Value(v) for v in f]} for c, f in cases.items()} for s, cases in figures.items()}
    values["one"]["c0"]["broken"][0] = Value(None, "not defined")
    told = [
        (value.figure, right)
        for s, cases in values.items()
        for c, found in cases.items()
        for value, right in zip(found["broken"], truth[s][c])
        if value.figure is not None
    ]
    pairs = [(a < b) + (a == b) / 2 for a, is_right in told for b, other in told if is_right and not other]
    value, low, high = agreement(Scores([column], values, "f"), truth, column, resamples=200)
    assert value == pytest.approx(sum(pairs) / len(pairs)) and low < value < high
    alike = {s: {c: [True, True] for c in cases} for s, cases in truth.items()}
    with pytest.raises(ValueError, match="are all right or all wrong. Compare systems that differ"):
        agreement(Scores([column], values, "f"), alike, column)


def test_everybody_must_be_there_and_right_in_every_word():
    judges, finder = MiniatureJudges.load(), detector("miniature", "cpu")()
    cat, bear = named_character("cat", "red", "spotted", "scarf"), named_character("bear", "green", "plain", "hat")
    case = pair(phrases=("cat", "bear"), objects=("cat-red-spotted-scarf", "bear-green-plain-hat"))

    def right(characters, asked=case):
        scene = render(characters, "high_fiving", "meadow", random.Random(1), swapped=False)
        return identity_right(judges, finder, asked, Image.fromarray(scene.image))

    assert right([cat, bear]) and right([bear, cat])
    assert not right([cat, replace(bear, accessory="scarf")])
    assert not right([cat, named_character("lion", "green", "plain", "hat")])
    assert not right([cat, bear], replace(case, objects=("cat-red-plain-scarf", "bear-green-plain-hat")))
