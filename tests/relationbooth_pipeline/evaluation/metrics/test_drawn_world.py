"""The drawn world's judges as metrics of its bench, and cases that its towers could not read."""

from dataclasses import replace

import pytest

from relationbooth_pipeline.evaluation.benches import open_cases
from relationbooth_pipeline.evaluation.cases import CaseFile
from relationbooth_pipeline.evaluation.metrics import MINIATURE, MetricOptions, plan_metrics
from relationbooth_pipeline.evaluation.metrics.drawn_world import DrawnWorld
from relationbooth_pipeline.miniature.judges import MiniatureJudges
from relationbooth_pipeline.relation_images import open_image


def one_case(name):
    bench = open_cases("miniature")
    return bench, next(case for case in bench.cases if case.id.startswith(name))


def test_a_photo_of_one_who_stands_or_waves_is_judged_so():
    judges = MiniatureJudges.load()
    metric = DrawnWorld(judges)
    for name in ("standing", "waving", "hugging"):
        bench, case = one_case(name)
        photos = [open_image(bench.photo(case, 0, number)) for number in range(len(case.references[0]))]
        found, seen = metric.score(bench, case, photos), judges.look(photos)
        assert [value.figure for value in found["relation judged"]] == [float(pose == name) for pose in seen.poses]
        assert [value.figure for value in found["broken"]] == pytest.approx(seen.broken.tolist())
        assert set(found) == {column.name for column in metric.columns}


def test_without_a_predicate_of_the_world_nothing_is_judged():
    bench, case = one_case("standing")
    photo = [open_image(bench.photo(case, 0, 0))]
    value = DrawnWorld(MiniatureJudges.load()).score(bench, replace(case, predicate="eating"), photo)
    assert value["relation judged"][0].figure is None and "'eating'" in value["relation judged"][0].note


def test_the_miniature_s_metrics_are_planned_with_its_judges_alone(tmp_path):
    bench, case = one_case("hugging")
    cases = CaseFile((case,), bench.folder)
    metrics = plan_metrics(MetricOptions(clip=MINIATURE, dino=MINIATURE), cases, tmp_path)()
    names = [column.name for metric in metrics for column in metric.columns]
    assert {"CLIP-R", "DINO", "relation judged", "broken"} <= set(names) and len(names) == len(set(names))
    checkpoints = {c.checkpoint for metric in metrics for c in metric.columns if c.name in ("CLIP-R", "broken")}
    assert len(checkpoints) == 2  # a metric is not the judge of the truth


def test_words_that_no_tower_knows_are_refused_before_anything_is_drawn(tmp_path):
    bench, case = one_case("hugging")
    strange = replace(case, prompt=case.prompt.replace(case.phrases[0], "corgi"), phrases=("corgi", case.phrases[1]))
    with pytest.raises(ValueError, match=r"case hugging.*: `text` must be of the drawn world's words.*'corgi'.*--clip"):
        plan_metrics(MetricOptions(clip=MINIATURE, dino=MINIATURE), CaseFile((strange,), bench.folder), tmp_path)
