"""Intervals: means over cases, coverage on simulated worlds, pairing, and tables."""

import json
import re

import numpy as np
import pytest

from relationbooth_pipeline.evaluation.cases import CaseFile
from relationbooth_pipeline.evaluation.finishing import comparison
from relationbooth_pipeline.evaluation.metrics import Column, Scores, Value
from relationbooth_pipeline.evaluation.metrics.scores import read_lines
from relationbooth_pipeline.evaluation.statistics import (
    PUBLISHED,
    auc,
    build_table,
    case_means,
    compared_runs,
    markdown,
    mean_interval,
    paired_difference,
)

from .tiny_bench import pair, single, write_bench


def test_pictures_of_a_case_are_averaged_first():
    means = case_means({"a": [1.0, 2.0, None], "b": [5.0], "c": [None]})
    assert means == {"a": 1.5, "b": 5.0}
    assert mean_interval(list(means.values())).mean == 3.25  # not the mean of three pictures


def test_the_interval_is_that_of_plain_loops():
    values, resamples = [0.3, 1.7, 2.2, 0.1, 5.0], 1200  # more than one chunk
    rng = np.random.default_rng(4)
    draws = np.concatenate([rng.integers(0, 5, (1000, 5)), rng.integers(0, 5, (200, 5))])
    means = sorted(sum(values[i] for i in draw) / 5 for draw in draws)
    found = mean_interval(values, resamples, seed=4)
    assert found.low == pytest.approx(np.percentile(means, 2.5), abs=1e-12)
    assert found.high == pytest.approx(np.percentile(means, 97.5), abs=1e-12)
    assert found.cases == 5


def test_coverage_where_pictures_resemble_their_case():
    rng, hits, pictures_hit, worlds = np.random.default_rng(0), 0, 0, 600
    for _ in range(worlds):
        case = rng.normal(0, 1, (100, 1))
        pictures = 10 + case + rng.normal(0, 0.5, (100, 4))
        found = mean_interval(pictures.mean(1), 1000)
        hits += found.low <= 10 <= found.high
        naive = mean_interval(pictures.ravel(), 1000)
        pictures_hit += naive.low <= 10 <= naive.high
    assert 0.93 <= hits / worlds <= 0.97
    assert pictures_hit / worlds < 0.80  # the same pictures, resampled without their cases: far too sure


def test_differences_are_paired_over_shared_cases():
    rng = np.random.default_rng(1)
    level = rng.normal(0, 5, 80)
    first = {f"c{i}": level[i] + 1 for i in range(80)}
    second = {f"c{i}": level[i] for i in range(80)} | {"other": 99.0}
    found = paired_difference(first, second)
    assert found.cases == 80
    assert (found.low, found.mean, found.high) == pytest.approx((1.0, 1.0, 1.0))
    assert paired_difference({"a": 1.0}, {"b": 1.0}) is None


def test_auc_counts_pairs():
    right, wrong = [0.9, 0.5, 0.5], [0.5, 0.1]
    pairs = [1.0 if a > b else 0.5 if a == b else 0.0 for a in right for b in wrong]
    assert auc(right, wrong) == pytest.approx(sum(pairs) / len(pairs))
    with pytest.raises(ValueError, match="got 0 right and 1 wrong"):
        auc([], [1.0])


def scores(fingerprint="f", systems=("ours", "sdxl"), scale="100"):
    columns = [Column("DINO", "Likeness.", "vit", "224", scale, "all"), Column("assigned", "Own place.")]
    values = {
        name: {
            "pair-0": {"DINO": [Value(10.0 + i), Value(12.0 + i)], "assigned": [Value(1.0), Value(0.0)]},
            "single-0": {
                "DINO": [Value(20.0 + i), Value(20.0 + i)],
                "assigned": [Value(None, "one"), Value(None, "one")],
            },
        }
        for i, name in enumerate(systems)
    }
    return Scores(columns, values, fingerprint)


CASES = CaseFile((pair("pair-0"), single("single-0")), None)


def test_tables_of_halves_and_missing_figures():
    table = build_table(scores(), CASES, resamples=200)
    assert table.rows["ours"]["DINO"].mean == pytest.approx(15.5)
    assert table.differences["sdxl − ours"]["DINO"].mean == pytest.approx(1.0)
    assert table.missing["ours"] == {"DINO": 0, "assigned": 2}
    one = build_table(scores(), CASES, "one object")
    assert one.rows["ours"]["assigned"] is None and [column.name for column in one.columns] == ["DINO"]
    against = build_table(scores(), CASES, against="sdxl").differences
    assert list(against) == ["ours − sdxl"]


def test_an_interval_s_ends_have_as_many_digits_as_its_mean():
    lines = markdown([build_table(scores(scale="100·cos"), CASES, resamples=200)]).splitlines()
    row = next(line for line in lines if line.startswith("| ours |"))
    assert re.fullmatch(r"\| ours \| 15\.5 \[\d+\.\d, \d+\.\d\] \| 0\.50 \[0\.50, 0\.50\] \|", row)
    assert [Column("c", "", scale=s).digits for s in ("100·cos (x)", "2.5·max(cos, 0)", "P(broken)")] == [1, 3, 2]


def test_a_mean_of_fewer_cases_than_another_row_s_says_so():
    """A margin is of the cases in which both objects were found: the worst system's is of those that it survived."""
    found = scores()
    found.values["sdxl"]["pair-0"]["DINO"] = [Value(None, "lost")]
    text = markdown([build_table(found, CASES, resamples=200)])
    ours, theirs, minus = (
        next(line for line in text.splitlines() if line.startswith(f"| {row} |")).split("|")[2]
        for row in ("ours", "sdxl", "sdxl − ours")
    )
    assert "(n = 1)" in theirs and "(n = 1)" in minus and "(n" not in ours
    assert "(n = …): of fewer cases than another row of the column" in text


def test_markdown_tells_what_every_figure_means_and_marks_published_ones():
    text = markdown([build_table(scores(), CASES, resamples=200)], published=True)
    assert "| DINO | Likeness. | vit | 224 | 100 | all |" in text
    assert "| RelationBooth | 28.9 | 20.4 | 75.4 | 62.1 |" in text and "not comparable" in text
    assert "| ELITE | 25.7 |" in text
    assert all(len(row) == len(columns) for columns, rows in PUBLISHED.values() for row in rows.values())


def test_only_equal_case_files_are_compared():
    joined = compared_runs([("a", scores()), ("b", scores())])
    assert list(joined.values) == ["ours", "sdxl", "b/ours", "b/sdxl"]
    with pytest.raises(ValueError, match="`a` and `b` are results of different case files"):
        compared_runs([("a", scores()), ("b", scores("g"))])
    with pytest.raises(ValueError, match="`a` and `b` measure DINO differently"):
        compared_runs([("a", scores()), ("b", scores(scale="1"))])
    with pytest.raises(ValueError, match="two systems would be called `b/ours`"):
        compared_runs([("a", scores()), ("b", scores()), ("b", scores())])


def test_runs_are_compared_on_the_cases_that_all_systems_have():
    few, other = scores(systems=("few",)), scores(systems=("other",))
    del few.values["few"]["single-0"], other.values["other"]["pair-0"]
    joined = compared_runs([("a", scores()), ("b", few)])
    assert all(list(by_case) == ["pair-0"] for by_case in joined.values.values())
    assert joined.notes == ["Figures are of the 1 of 2 cases that all systems have."]
    assert build_table(joined, CASES).rows["ours"]["DINO"].mean == 11.0
    with pytest.raises(ValueError, match="no case is scored for all of few, other. Draw them with the same `--limit`"):
        compared_runs([("b", few), ("c", other)])


def written(folder, found):
    folder.mkdir(parents=True)
    (folder / "results.jsonl").write_text("\n".join(found.lines()) + "\n", encoding="utf-8")
    return folder


def test_runs_in_folders_of_one_name_all_have_their_rows(tmp_path):
    runs = [written(tmp_path / name / "evaluation", scores(systems=("ours",))) for name in "abc"]
    text = comparison(runs, None, None)
    for row in ("ours", "b/evaluation/ours", "c/evaluation/ours"):
        assert text.count(f"\n| {row} |") == 1
    with pytest.raises(ValueError, match="the runs must be different ones, got .* Name each once"):
        comparison([*runs, tmp_path / "a" / ".." / "a" / "evaluation"], None, None)


def test_a_comparison_is_of_the_cases_that_all_runs_have(tmp_path):
    bench = write_bench(tmp_path / "bench", list(CASES.cases))
    whole, few = scores(bench.fingerprint), scores(bench.fingerprint, ("few",))
    del few.values["few"]["single-0"]
    runs = [written(tmp_path / "whole", whole), written(tmp_path / "few", few)]
    for cases in (None, str(bench.folder)):
        text = comparison(runs, cases, "sdxl")
        assert "### all, 1 case\n" in text or "### two objects, 1 case\n" in text
        assert "| ours | 11.00 [11.00, 11.00]" in text and "| few − sdxl | -1.00 [-1.00, -1.00]" in text
        assert "Figures are of the 1 of 2 cases that all systems have." in text
    with pytest.raises(ValueError, match="`against` must be one of ours, sdxl, few, got 'nobody'"):
        comparison(runs, None, "nobody")


def test_a_table_against_nobody_is_refused():
    with pytest.raises(ValueError, match="`against` must be one of ours, sdxl, got 'nobody'"):
        build_table(scores(), CASES, against="nobody")


def test_results_come_back_from_their_lines_and_a_torn_one_is_told(tmp_path):
    path = tmp_path / "results.jsonl"
    path.write_text("\n".join(scores().lines()) + "\n", encoding="utf-8")
    assert read_lines(path) == scores()
    path.write_text("\n".join(scores().lines())[:-20], encoding="utf-8")
    torn = read_lines(path)
    assert "was torn off and is left out" in torn.notes[0]
    assert len(torn.values["sdxl"]["single-0"]["DINO"]) == 1
    lines = scores().lines()
    path.write_text("\n".join([lines[0], lines[1][:-5], *lines[2:]]), encoding="utf-8")
    with pytest.raises(ValueError, match="line 2 is no JSON"):
        read_lines(path)
    path.write_text(json.dumps({"other": 1}) + "\n", encoding="utf-8")
    with pytest.raises(ValueError, match="is no file of results"):
        read_lines(path)
