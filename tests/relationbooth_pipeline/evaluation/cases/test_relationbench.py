"""RelationBench: the paper's prompts and categories, and a draw that is balanced and repeats."""

from collections import Counter

import pytest

from relationbooth_pipeline.evaluation.benches import read_bench
from relationbooth_pipeline.evaluation.benches.relationbench import (
    MULTI_PROMPTS,
    OBJECTS,
    SINGLE_PROMPTS,
    draw_plan,
)
from relationbooth_pipeline.evaluation.cases import CaseFile, case_predicate
from tests.tiny import photo


def test_the_paper_s_numbers():
    assert (len(SINGLE_PROMPTS), len(MULTI_PROMPTS)) == (14, 11)
    assert set(OBJECTS) == {"pets", "plushies", "toys", "people", "cartoons"}
    entries = [entry for found in OBJECTS.values() for entry in found]
    assert len(entries) == len({(name, folder) for name, folder, _ in entries}) == 44


@pytest.mark.parametrize("seed", [0, 1, 7])
def test_prompts_and_categories_are_balanced(seed):
    plan = draw_plan(seed)
    for half, roles in (("single", 1), ("multi", 2)):
        chosen = [entry for entry in plan if entry[0] == half]
        assert len(chosen) == 100
        prompts = Counter(prompt for _, prompt, _ in chosen)
        assert max(prompts.values()) - min(prompts.values()) <= 1
        for role in range(roles):
            categories = Counter(objects[role][0] for _, _, objects in chosen)
            assert set(categories.values()) == {20}
        assert all(len(set(objects)) == roles for _, _, objects in chosen)  # nobody plays with themselves
    used = {entry for _, _, objects in plan for entry in objects}
    assert len(used) == 44


def test_a_seed_repeats_and_another_differs():
    assert draw_plan(3) == draw_plan(3) != draw_plan(4)


def test_cases_from_downloads(tmp_path):
    for name, folder, _ in [entry for entries in OBJECTS.values() for entry in entries]:
        place = tmp_path / name / folder
        place.mkdir(parents=True)
        for k in range(2):
            photo(k, (8, 8)).save(place / f"{k:02d}.jpg")
    cases = read_bench("relationbench", [tmp_path / "dreambench", tmp_path / "cc101"], seed=5, count=22)
    CaseFile(tuple(cases), tmp_path).check()
    assert Counter(case.bench for case in cases) == {"relationbench-single": 22, "relationbench-multi": 22}
    predicates = dict(SINGLE_PROMPTS + MULTI_PROMPTS).values()
    assert all(case_predicate(case)[0] in predicates for case in cases)
    assert cases == read_bench("relationbench", [tmp_path / "dreambench", tmp_path / "cc101"], seed=5, count=22)
