"""Cases that are drawn in one call: always the same ones, whoever draws them, and each as if it were alone."""

import random
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from relationbooth_pipeline.evaluation.engine import Run
from relationbooth_pipeline.evaluation.systems import KINDS, System, SystemOptions, build_systems
from relationbooth_pipeline.evaluation.systems import pictures as picture_files
from relationbooth_pipeline.generation.settings import GenerationSettings

from ..tiny_bench import pair, single, write_bench
from ..tiny_run import run_options
from .tiny_pipelines import bench, options, order_of, world  # noqa: F401


class Company(System):
    """Pictures whose colour tells everybody in the call; pairs and single objects never share one."""

    def __init__(self, name, cases_a_call):
        super().__init__(name)
        self.cases_a_call = cases_a_call

    def settings(self, case):
        return {"method": "company"}

    def shares_call(self, case):
        return len(case.phrases)

    def draw(self, orders):
        assert len({len(order.photos) for order in orders}) == 1
        rng = random.Random("/".join(order.case.id for order in orders))
        colors = [[tuple(rng.randrange(256) for _ in range(3)) for _ in order.seeds] for order in orders]
        return [[Image.new("RGB", (32, 32), color) for color in of_case] for of_case in colors]


def test_groups_hold_every_case_once_and_are_even():
    rng = random.Random(0)
    for _ in range(100):
        cases = [rng.choice((pair, single))(f"case-{i}") for i in range(rng.randrange(1, 30))]
        size = rng.randrange(1, 9)
        groups = Company("company", size).groups(cases)
        assert sorted(number for group in groups for number in group) == list(range(len(cases)))
        for kind in (1, 2):
            sizes = [len(group) for group in groups if len(cases[group[0]].phrases) == kind]
            assert all(len({len(cases[number].phrases) for number in group}) == 1 for group in groups)
            assert not sizes or (max(sizes) <= size and max(sizes) - min(sizes) <= 1)
            assert len(sizes) == -(-sum(sizes) // size)  # no more calls than needed


@pytest.fixture
def company(tmp_path, models, monkeypatch):
    """A maker of runs over five cases in calls of at most three, with shuffled copies."""
    monkeypatch.setitem(KINDS, "company", (None, lambda b, name, _: Company(name, b.options.cases_a_call)))
    cases = write_bench(tmp_path / "bench", [pair(f"pair-{i}") for i in range(5)] + [single("s-0"), single("s-1")])
    settings = GenerationSettings(prompt="any", seed=0, device="cpu")
    settings.checked()

    def make(name, **changes):
        changes |= {
            "systems": ("company", "shuffled:company"),
            "system_options": SystemOptions(settings, cases_a_call=3),
        }
        return Run(run_options(cases.folder, tmp_path / name, models, **changes))

    return make


def pictures(run):
    files = sorted((run.root / "pictures").rglob("*.png"))
    return {file.relative_to(run.root): file.read_bytes() for file in files}


def draw(run):
    return list(run.work("draw"))


def test_a_run_that_was_left_or_shared_ends_with_the_same_pictures(company, monkeypatch):
    whole = company("whole")
    assert len(draw(whole)) == 3 + 7 and len(pictures(whole)) == 2 * 7 * 2
    for shard in ("1/2", "0/2"):
        draw(company("shards", shard=shard))
    assert pictures(company("shards")) == pictures(whole)
    save, left = picture_files.save_png, [1]

    def dies(*arguments):
        if not left[0]:
            raise KeyboardInterrupt
        left[0] -= 1
        save(*arguments)

    monkeypatch.setattr(picture_files, "save_png", dies)
    for count in (1, 2, 3, 4):  # the first call has six pictures
        left[0] = count
        with pytest.raises(KeyboardInterrupt):
            draw(company("left"))
    monkeypatch.undo()
    KINDS["company"] = (None, lambda b, name, _: Company(name, b.options.cases_a_call))
    draw(company("left"))
    assert pictures(company("left")) == pictures(whole)


@pytest.mark.parametrize("text", ["ours", "adapter", "sdxl", "dreambooth:{}", "textual-inversion:{}"])
def test_each_case_of_a_call_is_drawn_as_if_it_were_alone(world, bench, options, text):  # noqa: F811
    (system,) = build_systems([text.format(world / "subjects")], replace(options, cases_a_call=3))
    first, second = bench.cases[:2]
    second = replace(second, prompt="a cat is hugging a bear at night", generate_with=(0, 2))
    orders = [order_of(case, bench) for case in (first, second)]
    assert system.groups([first, second]) == [(0, 1)]
    together = [[np.asarray(p).astype(int) for p in found] for found in system.draw(orders)]
    for order, found in zip(orders, together):
        ((*alone,),) = system.draw([order])
        assert all(np.abs(np.asarray(a) - b).max() <= 1 for a, b in zip(alone, found))
    assert np.abs(together[0][0] - together[1][0]).max() > 1


def test_less_than_a_case_a_call_is_refused(options):  # noqa: F811
    with pytest.raises(ValueError, match="`cases_a_call` must be at least 1, got 0"):
        build_systems(["sdxl"], replace(options, cases_a_call=0))
