"""Options of every program: what accelerate's environment says, what numbers mean, what --help tells."""

import argparse

import pytest

from training.adapter import arguments as adapter_arguments
from training.common.loop_arguments import ENDING_SCHEDULES, SCHEDULES, free_on_resume, settle_with_launcher
from training.encoder import arguments as encoder_arguments
from training.lora import arguments as lora_arguments

PROGRAMS = {"lora": lora_arguments, "adapter": adapter_arguments, "encoder": encoder_arguments}
ACCUMULATION, PRECISION = "ACCELERATE_GRADIENT_ACCUMULATION_STEPS", "ACCELERATE_MIXED_PRECISION"
NEEDED = ["--pretrained_model_name_or_path", "base", "--train_data_dir", "data"]


def settled(environment, steps=None, precision=None) -> tuple[int, str]:
    args = argparse.Namespace(gradient_accumulation_steps=steps, mixed_precision=precision)
    settle_with_launcher(argparse.ArgumentParser(), args, environment)
    return args.gradient_accumulation_steps, args.mixed_precision


@pytest.mark.parametrize(
    "environment, given, expected",
    [
        ({}, {}, (1, "no")),
        ({}, {"steps": 3, "precision": "fp16"}, (3, "fp16")),
        ({ACCUMULATION: "4", PRECISION: "bf16"}, {}, (4, "bf16")),
        ({ACCUMULATION: "4", PRECISION: "bf16"}, {"steps": 4, "precision": "bf16"}, (4, "bf16")),
        # What `accelerate launch` writes when it was told nothing.
        ({ACCUMULATION: "auto", PRECISION: "no"}, {"steps": 3, "precision": "bf16"}, (3, "bf16")),
        ({ACCUMULATION: "1"}, {"steps": 2}, (2, "no")),
    ],
)
def test_option_or_environment_whichever_says_something(environment, given, expected):
    assert settled(environment, **given) == expected


@pytest.mark.parametrize(
    "environment, given, message",
    [
        ({ACCUMULATION: "4"}, {"steps": 2}, "`--gradient_accumulation_steps` 2 and accelerate's environment (`ACCEL"),
        ({PRECISION: "bf16"}, {"precision": "no"}, "`--mixed_precision` no and accelerate's environment (`ACCEL"),
        ({PRECISION: "fp8"}, {}, "`ACCELERATE_MIXED_PRECISION` must be one of no, fp16, bf16 here, got 'fp8'"),
        ({ACCUMULATION: "0"}, {}, "must be a whole number of at least 1, got '0'"),
        ({ACCUMULATION: "two"}, {}, "must be a whole number of at least 1, got 'two'"),
    ],
)
def test_what_differs_or_is_unknown_is_refused_by_name(environment, given, message, capsys):
    with pytest.raises(SystemExit):
        settled(environment, **given)
    assert message in capsys.readouterr().err


@pytest.mark.parametrize("program", ["lora", "encoder"])
def test_the_programs_ask_the_environment(program, monkeypatch):
    monkeypatch.setenv(ACCUMULATION, "4")
    monkeypatch.setenv(PRECISION, "bf16")
    args = PROGRAMS[program].parse_arguments(NEEDED)
    assert (args.gradient_accumulation_steps, args.mixed_precision) == (4, "bf16")


@pytest.mark.parametrize("program", PROGRAMS)
def test_every_option_s_help_tells_its_default(program):
    for action in PROGRAMS[program].build_parser()._actions:
        name = action.option_strings[-1]
        if name == "--help" or action.required:
            continue
        assert "default: " in action.help, name
        if action.default not in (None, "") and action.default is not False:  # 0 equals False, and is told
            assert f"default: {action.default})" in action.help, name
        action.help.encode("cp1252")  # a Windows pipe's encoding: --help must not end in a UnicodeEncodeError


@pytest.mark.parametrize(
    "flag, value, message",
    [
        ("learning_rate", "nan", "must be a finite number, got nan"),
        ("max_grad_norm", "inf", "must be a finite number, got inf"),
        ("max_grad_norm", "0", "must be greater than 0, got 0.0"),
        ("adam_epsilon", "0", "must be greater than 0, got 0.0"),
        ("adam_beta1", "1", "must be in [0, 1), got 1.0"),
        ("lr_warmup_steps", "-1", "must be at least 0, got -1"),
        ("snr_gamma", "0", "must be greater than 0, got 0.0"),
        ("snr_gamma", "-5", "must be greater than 0, got -5.0"),
        ("snr_gamma", "nan", "must be a finite number, got nan"),
        ("validation_steps", "0", "must be at least 1, got 0"),
        ("kml_max_timestep", "-1", "must be at least 0, got -1"),
    ],
)
def test_absurd_numbers_are_refused_by_the_option_s_name(flag, value, message, capsys):
    with pytest.raises(SystemExit):
        lora_arguments.parse_arguments([*NEEDED, f"--{flag}={value}"])
    assert f"`--{flag}` {message}" in capsys.readouterr().err


def test_a_schedule_that_ends_ties_the_run_s_length():
    """With a constant rate a longer run begins as a shorter one; with a cosine every step's rate is another."""
    length = {"max_train_steps", "num_train_epochs"}
    for name in SCHEDULES:
        free = free_on_resume(argparse.Namespace(lr_scheduler=name), {"report_to", *length})
        assert free == ({"report_to"} if name in ENDING_SCHEDULES else {"report_to", *length})


def test_epochs_given_count_instead_of_the_default_steps():
    args = lora_arguments.parse_arguments([*NEEDED, "--num_train_epochs", "3"])
    assert (args.num_train_epochs, args.max_train_steps) == (3, None)
    assert lora_arguments.parse_arguments(NEEDED).max_train_steps == 500
