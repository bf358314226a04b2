"""The proof that the laboratory can decide: its probes against references, its verdicts, and a toy run of all of it."""

import json

import pytest
import torch

pytest.importorskip("skia", reason="skia-python, which draws the miniature's world, is not installed")

from diffusers import AutoencoderKL

from relationbooth_pipeline import miniature
from training.miniature.measure import probes, proportions
from training.miniature.stages.attributes import VISUAL_ATTRIBUTES
from training.miniature.stages.encoders import build_image_encoder


def test_ridge_is_the_regularised_least_squares_solution():
    torch.manual_seed(0)
    train, test = torch.randn(30, 5, dtype=torch.float64), torch.randn(4, 5, dtype=torch.float64)
    train = train - train.mean(0)
    answers = torch.rand(30, 3, dtype=torch.float64)
    penalty = 0.3 * train.square().sum(1).mean()
    weights = torch.linalg.inv(train.T @ train + penalty * torch.eye(5, dtype=torch.float64)) @ (
        train.T @ (answers - answers.mean(0))
    )
    expected = test @ weights + answers.mean(0)
    assert torch.allclose(probes.ridge_scores(train, answers, test, 0.3).double(), expected, atol=1e-5)


def test_probes_find_what_is_there_and_only_that(monkeypatch):
    """A class vector hides at a random place among noise; a second attribute is not in the tokens at all."""
    torch.manual_seed(0)
    monkeypatch.setattr(probes, "EPOCHS", 15)
    vectors = 3 * torch.randn(4, 16)

    def draw(count):
        hidden, absent = torch.randint(4, (count,)), torch.randint(4, (count,))
        tokens = 0.3 * torch.randn(count, 6, 16)
        tokens[torch.arange(count), torch.randint(6, (count,))] += vectors[hidden]
        return tokens, {"hidden": hidden, "absent": absent}

    (train, train_targets), (test, test_targets) = draw(1000), draw(300)
    found = probes.best_reading(train, train_targets, test, test_targets)
    assert found["hidden"][0] > 0.95 and found["absent"][0] < 0.4
    assert probes.attentive_reading(train, train_targets, test, test_targets)["hidden"][1] > 0.9


def test_wilson_interval():
    assert probes.wilson_interval(0.5, 100) == pytest.approx((0.4038, 0.5962), abs=1e-4)
    assert probes.wilson_interval(0.0, 50)[0] == pytest.approx(0, abs=1e-12)


def test_verdicts_name_the_worst_attribute_of_each_kind():
    row = dict.fromkeys(VISUAL_ATTRIBUTES, (0.95, "linear"))
    rows = {name: dict(row) for name, _ in proportions.AIMS}
    lines = proportions.verdicts(rows)
    assert [line.endswith("reached") for line in lines] == [True, False, True, True]
    rows["local tokens, distilled, 4x4"]["pupils"] = (0.849, "linear")
    assert "pupils 84.9 (aim >= 85): MISSED" in proportions.verdicts(rows)[2]


def test_the_command_measures_a_folder_of_stages(tmp_path, capsys):
    tower = build_image_encoder(proportions.WORLD)
    for folder in ("encoders/image_encoder", "local_encoder"):
        tower.save_pretrained(tmp_path / folder)
    told = ["--output_dir", str(tmp_path), "--train_count", "60", "--count", "10", "--judge_steps", "1"]
    with pytest.raises(ValueError, match="must hold vae/model"):
        proportions.main(told)
    AutoencoderKL.from_pretrained(miniature.path(), subfolder="vae").save_pretrained(tmp_path / "vae" / "model")
    proportions.main([*told, "--judge_pool", "40"])
    printed = capsys.readouterr().out
    assert "| CLIP's input / picture | 0.22 | 1.00 | 0.19 |" in printed and "aim >= 85" in printed
    found = json.loads((tmp_path / "proportions" / "proportions.json").read_text(encoding="utf-8"))
    assert set(found["rows"]["image tokens"]) == set(VISUAL_ATTRIBUTES) and found["count"] == 10
    assert (tmp_path / "proportions" / "identities.jpg").is_file()
