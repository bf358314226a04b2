"""A loss is added in two files: its equation, and a row of the table with its weight."""

from dataclasses import dataclass, fields

import pytest
import torch

from training.common.options import options
from training.lora import arguments, step
from training.lora.loss_terms import LOSS_TERMS, LossSettings, LossTerm, Step, _option, wants_attention


def test_every_weight_is_a_setting_and_an_option():
    names = {field.name for field in fields(LossSettings)}
    assert {term.weight for term in LOSS_TERMS} <= names
    args = arguments.parse_arguments(["--pretrained_model_name_or_path", "x", "--train_data_dir", "y"])
    assert options(LossSettings, args) == LossSettings()
    assert [wants_attention(LossSettings(predicate_attention_weight=w)) for w in (0.0, 0.1)] == [False, True]


def test_a_row_is_all_that_a_new_loss_needs(monkeypatch):
    """Its weight becomes an option, and the step adds, names and returns it."""

    @dataclass(frozen=True)
    class Settings(LossSettings):
        brightness_weight: float = _option(0.0, "of a loss on the mean")

    row = LossTerm("brightness", "brightness_weight", lambda s: s.clean.mean((1, 2, 3)).square())
    monkeypatch.setattr(arguments, "LossSettings", Settings)
    monkeypatch.setattr(arguments, "LOSS_TERMS", (*LOSS_TERMS, row))
    base = ["--pretrained_model_name_or_path", "x", "--train_data_dir", "y"]
    settings = options(Settings, arguments.parse_arguments([*base, "--brightness_weight", "0.5", "--kml_weight", "0"]))
    with pytest.raises(SystemExit):
        arguments.parse_arguments([*base, "--brightness_weight", "-1"])

    monkeypatch.setattr(step, "LOSS_TERMS", (row,))
    clean, zeros = torch.tensor([2.0, 4.0]).view(2, 1, 1, 1), torch.zeros(2)
    seen = Step(
        batch=None, timesteps=zeros, last_timestep=999, clean=clean, error=clean, attention_maps=[], settings=settings
    )
    loss, parts = step.add_terms(torch.tensor([1.0, 1.0]), seen)
    assert parts["brightness"].tolist() == [4, 16] and parts["loss"].tolist() == [3, 9] and loss.item() == 6
