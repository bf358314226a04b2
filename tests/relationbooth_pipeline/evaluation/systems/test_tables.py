"""Tables of RelationLoRAs and words: every entry acts somewhere, and a reader sees in how many cases."""

import json

import pytest
import torch
from safetensors.torch import save_file

from relationbooth_pipeline.evaluation.engine import RUN, Run
from relationbooth_pipeline.evaluation.finishing import estimate, finish
from relationbooth_pipeline.evaluation.metrics import MetricOptions
from relationbooth_pipeline.evaluation.systems import SystemOptions, build_systems
from tests.tiny import TEXT_WIDTH

from ..tiny_bench import pair, single, write_bench
from ..tiny_run import finished, run_options
from .tiny_pipelines import bench, options, world  # noqa: F401

HUG = "relation_loras/hug/pytorch_lora_weights.safetensors"


@pytest.fixture
def ours(world, options, tmp_path):
    """The system `ours` with a table of these entries."""

    def make(*entries):
        table = tmp_path / "table.json"
        table.write_text(json.dumps({entry: str(world / "model" / HUG) for entry in entries}), encoding="utf-8")
        return build_systems(["ours"], SystemOptions(options.generation, lora_table=table))[0]

    return make


@pytest.mark.parametrize("entry", ["hugging", "Is hugging", " are  being HUGGING"])
def test_an_entry_is_matched_as_cases_are(ours, bench, tmp_path, entry):
    system = ours(entry)
    system.prepare(bench, tmp_path)
    assert system.note == "RelationLoRA in 2 of 4 cases" and system.settings(bench.cases[0])["lora"] is not None


def test_an_entry_that_matches_no_case_is_refused_by_name(ours, bench, tmp_path):
    with pytest.raises(ValueError, match="match no case of this bench: 'huging', ''. Its cases say: hugging, sleeping"):
        ours("huging", "is", "is sleeping", "hugging").prepare(bench, tmp_path)
    with pytest.raises(ValueError, match="has two entries for 'hugging'"):
        ours("hugging", "is hugging")


def test_an_entry_of_auxiliaries_alone_matches_no_case_that_says_nothing(ours, tmp_path):
    cases = write_bench(tmp_path / "bench", [pair("p-0"), single("s-0", prompt="a dog")])
    with pytest.raises(ValueError, match="match no case of this bench: ''"):
        ours("is", "hugging").prepare(cases, tmp_path)


def test_a_limit_makes_no_entry_wrong_and_a_model_may_have_more(ours, world, bench, options, tmp_path):
    system = ours("hugging", "sleeping")
    system.prepare(bench.limited(1), tmp_path)
    assert system.note == "RelationLoRA in 1 of 1 cases"
    (system,) = build_systems(["ours"], options)
    system.loras.entries["flying"] = system.loras.entries["hugging"]  # found in the folder, for other benches
    system.prepare(bench, tmp_path)


def test_words_that_replace_nothing_are_refused_by_name(bench, options, tmp_path):
    save_file({key: torch.zeros(1, TEXT_WIDTH) for key in ("clip_l", "clip_g")}, tmp_path / "word.safetensors")

    def words(*texts):
        table = tmp_path / "words.json"
        table.write_text(json.dumps({text: "word.safetensors" for text in texts}), encoding="utf-8")
        (system,) = build_systems([f"relation-words:{table}"], options)
        system.prepare(bench, tmp_path)
        return system

    assert words("is hugging").note == "learned word in 2 of 4 cases"
    with pytest.raises(ValueError, match="match no case of this bench: 'is wavng'. Its cases say: hugging, sleeping"):
        words("is hugging", "is wavng")


def test_a_reader_sees_in_how_many_cases_a_relationlora_acts(world, options, models, tmp_path):
    cases = write_bench(tmp_path / "bench", [pair("p-0"), single("s-0"), single("s-1")])
    systems = {"systems": ("ours",), "pictures": 1, "system_options": options}
    metrics = {"metric_options": MetricOptions(models["clip"], models["dino"])}
    given = run_options(cases.folder, tmp_path / "run", models, **systems, **metrics)
    assert "; RelationLoRA in 1 of 3 cases" in estimate(Run(given))[0]
    run = finished(given)
    assert "ours: RelationLoRA in 1 of 3 cases." in finish(run, False)[0]
    assert "RelationLoRA in 1 of 3 cases" in (run.root / "report.html").read_text(encoding="utf-8")
    document = json.loads((run.root / RUN).read_text(encoding="utf-8"))
    del document["notes"]  # as runs of before have it
    (run.root / RUN).write_text(json.dumps(document), encoding="utf-8")
    assert "RelationLoRA in" in finish(Run(given), False)[0]
