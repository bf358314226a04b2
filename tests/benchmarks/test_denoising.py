import json

import pytest
import torch
from diffusers import UNet2DConditionModel
from transformers import CLIPVisionConfig

from benchmarks.compiled_graphs import graph_count
from benchmarks.denoising import main, measure_encoders, verdicts
from benchmarks.meters import Meter, operations
from benchmarks.statistics import Interval, Verdict, alternate, median_interval, paired_ratio
from benchmarks.variants import SIZES, Comparison, tensor_bytes
from relationbooth_pipeline import LocalImageEncoder


@pytest.fixture(scope="module")
def comparison():
    return Comparison(SIZES["tiny"])


@pytest.fixture(scope="module")
def outputs(comparison):
    return {name: step() for name, step in comparison.steps().items()}


def test_the_interval_of_equal_samples_is_a_point():
    assert median_interval([2.0] * 5) == Interval(2.0, 2.0, 2.0)


def test_the_interval_covers_the_true_median_about_as_often_as_it_says():
    generator = torch.Generator().manual_seed(0)
    trials = [torch.randn(40, generator=generator).tolist() for _ in range(200)]
    intervals = [median_interval(trial, resamples=500) for trial in trials]
    covered = sum(interval.low <= 0 <= interval.high for interval in intervals) / len(intervals)
    assert 0.90 <= covered <= 0.99  # 95 % ± three standard errors of 200 trials


def test_paired_ratios_cancel_drift_that_both_sides_share():
    drift = [1.0, 3.0, 9.0, 2.0]
    assert paired_ratio([1.5 * d for d in drift], drift) == Interval(1.5, 1.5, 1.5)


def test_statistics_refuse_what_has_no_median():
    with pytest.raises(ValueError, match="at least one sample"):
        median_interval([])
    with pytest.raises(ValueError, match="the same rounds"):
        paired_ratio([1.0], [1.0, 2.0])


@pytest.mark.parametrize(
    "interval, missed, word",
    [((0.9, 0.8, 1.2), False, "met"), ((1.1, 1.0, 1.2), False, "not missed"), ((1.1, 1.05, 1.2), True, "MISSED")],
)
def test_a_bound_is_missed_only_above_the_whole_interval(interval, missed, word):
    verdict = Verdict("claim", Interval(*interval), bound=1.0)
    assert verdict.missed is missed
    assert verdict.word.startswith(word)


def test_verdicts_compare_the_right_pairs():
    seconds = {"plain": 1.0, "ours 2": 2.0, "ours 8": 8.0, "ip-adapter": 4.0, "projection 2": 0.5, "projection 8": 0.25}
    found = [verdict.ratio.median for verdict in verdicts({name: [value] for name, value in seconds.items()})]
    assert found == [2.0, 0.5, 4.0, 0.5, 0.25]


def test_every_round_runs_every_variant_once_and_orders_differ():
    ran = []
    seconds = alternate({name: lambda name=name: ran.append(name) for name in "abc"}, 20, lambda run: run() or 1.0)
    rounds = [tuple(ran[i : i + 3]) for i in range(0, 60, 3)]
    assert all(set(order) == set("abc") for order in rounds) and len(set(rounds)) > 1
    assert seconds == {name: [1.0] * 20 for name in "abc"}


def test_without_image_prompts_the_step_is_plain_bit_for_bit(outputs):
    assert torch.equal(outputs["ours 0"], outputs["plain"])


@pytest.mark.parametrize("name", ["ours 2", "ours 8", "ip-adapter"])
def test_image_prompts_change_the_conditional_row_only(outputs, name):
    assert not torch.allclose(outputs[name][1], outputs["plain"][1], atol=1e-4)
    if name != "ip-adapter":  # which also reads its zero image in the unconditional row
        torch.testing.assert_close(outputs[name][0], outputs["plain"][0])


def test_the_variants_are_different_paths_on_the_same_weights(comparison, outputs):
    names = [name for name in outputs if name not in ("plain", "ours 0")]
    assert all(not torch.equal(outputs[a], outputs[b]) for i, a in enumerate(names) for b in names[:i])
    plain = comparison.plain.state_dict(keep_vars=True)
    for unet in (comparison.ours, comparison.ip_adapter):
        own = unet.state_dict(keep_vars=True)
        assert all(own[key].data_ptr() == weight.data_ptr() for key, weight in plain.items())
    kinds = {type(p).__name__ for p in comparison.plain.attn_processors.values()}
    assert kinds == {"AttnProcessor2_0"}


def test_full_size_is_sdxl():
    with torch.device("meta"):
        unet = UNet2DConditionModel(**SIZES["full"].unet)
    assert sum(weight.numel() for weight in unet.parameters()) == 2_567_463_684  # SDXL base 1.0


def test_bytes_of_nested_tensors():
    assert tensor_bytes({"a": [torch.zeros(3), (torch.zeros(2, dtype=torch.bool), None)]}) == 14


def test_peak_memory_notices_an_allocation():
    meter = Meter("cpu")
    idle = meter.peak_bytes(lambda: None)
    assert meter.peak_bytes(lambda: torch.ones(2**26, dtype=torch.uint8).sum()) >= idle + 2**25


def test_operations_are_counted_and_a_step_does_not_repeat_the_projection_s(comparison):
    a, b = torch.randn(3, 5), torch.randn(5, 7)
    assert operations(lambda: a @ b) == 2 * 3 * 5 * 7
    steps = comparison.steps()
    plain, ours = operations(steps["plain"]), operations(steps["ours 2"])
    assert plain == operations(steps["ours 0"])
    assert 0 <= ours - plain < operations(lambda: comparison.project(2)) < plain


def test_the_number_of_graphs_does_not_grow_with_the_layers():
    few, many = (graph_count(layers, image_prompts=2) for layers in ((1, 1, 1), (1, 2, 2)))
    assert 0 < many == few


def test_the_program_writes_its_figures(tmp_path, capsys):
    file = tmp_path / "figures.json"
    assert main(["--sizes", "tiny", "--rounds", "2", "--skip_encoders", "--skip_graphs", "--output", str(file)]) == 0
    report = json.loads(file.read_text())["sizes"][0]
    ours = {f"ours {count}" for count in (0, 2, 8)}
    assert set(report["variants"]) == {"plain", *ours, "ip-adapter", "projection 2", "projection 8"}
    assert report["verdicts"][0]["bound"] == 1.03
    assert "IP-Adapter" in capsys.readouterr().out


def test_encoders_are_timed_at_both_sizes():
    config = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2}
    config |= {"projection_dim": 16, "patch_size": 14, "image_size": 28}
    times = measure_encoders("cpu", torch.float32, config=config, side=56)
    assert len(times) == 2 and all(row["median_s"] > 0 for row in times.values())
    small, large = (row["counted_bytes"] for row in times.values())
    weights = 4 * sum(p.numel() for p in LocalImageEncoder(CLIPVisionConfig(**config)).parameters())
    assert weights < small < large
