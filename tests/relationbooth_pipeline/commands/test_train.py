"""`relationbooth train` hands everything to the program and gives its exit status back."""

import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from relationbooth_pipeline.commands import train
from relationbooth_pipeline.commands.main import app

ROOT = Path(__file__).parents[3]


def run(arguments, status, monkeypatch):
    """(exit status, output, command line of the process that was started)."""
    seen = []

    def start(command):
        seen.append(command)
        return subprocess.CompletedProcess(command, status)

    monkeypatch.setattr(train.subprocess, "run", start)
    result = CliRunner().invoke(app, ["train", *arguments])
    return result.exit_code, result.output, seen


@pytest.mark.parametrize("name", train.PROGRAMS)
@pytest.mark.parametrize("status, expected", [(0, 0), (1, 1), (2, 2), (-15, 143)])
def test_all_options_pass_and_the_status_comes_back(name, status, expected, monkeypatch):
    options = ["--train_data_dir", "a b", "--push_to_hub", "--output_dir=x", "-v"]
    code, _, (command,) = run([name, *options], status, monkeypatch)
    assert code == expected
    assert command[:3] == [sys.executable, "-m", "accelerate.commands.launch"]
    file = ROOT / "training" / train.PROGRAMS[name][0]
    assert file.is_file() and command[-6:] == [str(file), *options]


def test_help_is_the_program_s_own(monkeypatch):
    _, _, (command,) = run(["lora", "--help"], 0, monkeypatch)
    assert command == [sys.executable, str(ROOT / "training" / "train_relation_lora_sdxl.py"), "--help"]


def test_a_package_without_the_programs_names_the_extra(monkeypatch):
    monkeypatch.setattr(train, "FOLDERS", ("nowhere",))
    code, output, started = run(["lora"], 0, monkeypatch)
    assert code == 1 and "pip install 'relationbooth[training]'" in output and not started
