"""Files of scores: what is kept of a case, and what counts as made by the metrics of a run."""

import pytest

from relationbooth_pipeline.evaluation.metrics import Column, Metric, Value, read_scores, score_case
from relationbooth_pipeline.evaluation.metrics.scores import keep_columns

from ..tiny_bench import write_bench
from ..tiny_run import finished, run_options


class Counting(Metric):
    """One figure of every picture; `asked` is how often."""

    def __init__(self, name, checkpoint):
        self.columns, self.asked = (Column(name, "a one", checkpoint),), 0

    def score(self, cases, case, pictures):
        self.asked += 1
        return {self.columns[0].name: [Value(1.0) for _ in pictures]}


def test_figures_of_a_metric_that_a_run_does_without_are_kept_until_its_settings_change(models, tmp_path):
    bench = write_bench(tmp_path / "bench")
    run = finished(run_options(bench.folder, tmp_path / "run", models, limit=1))
    system, case = "mine", run.cases.cases[0]
    cheap, paid, other = Counting("cheap", "a"), Counting("paid", "b"), Counting("paid", "c")
    for metrics in ([cheap, paid], [cheap], [cheap, paid]):
        score_case(run.root, system, run.cases, case, 2, metrics)
    assert (cheap.asked, paid.asked) == (1, 1)
    keep_columns(run.root, [other])
    with pytest.raises(ValueError, match="1 of 1 system-case pairs are not scored yet"):
        read_scores(run.root, run.cases, [system], 2)
    score_case(run.root, system, run.cases, case, 2, [other])
    assert other.asked == 1 and read_scores(run.root, run.cases, [system], 2).values[system][case.id]["paid"]
