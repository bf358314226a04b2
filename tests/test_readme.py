"""The README's first commands draw what it shows; `tests/docs/` looks at all pages, and at every command and block."""

import re
import shlex

import numpy as np
from PIL import Image
from typer.testing import CliRunner

from relationbooth_pipeline.commands.main import app
from tests.docs.pages import ROOT, blocks, commands

SETUP = ("python3 -m venv .venv", ". .venv/bin/activate", "pip install torch==2.13.0")
FIRST, SECOND, GENERATE = [commands(block.text) for block in blocks("README.md") if block.language == "bash"][:3]


def run(command: str, *more) -> None:
    program, *arguments = shlex.split(command)
    assert program == "relationbooth"
    result = CliRunner().invoke(app, [*arguments, *map(str, more)])
    assert result.exit_code == 0, result.output


def test_both_commands_bring_their_set_up():
    assert tuple(FIRST[:3]) == tuple(SECOND[:3]) == SETUP
    assert FIRST[3:] == ["pip install -e '.[cli]'", "relationbooth demo"]
    assert SECOND[3:] == ["pip install -e '.[app,cli,test]'", "python -m pytest -n auto"]


def test_the_set_up_is_the_one_that_ci_runs():
    script = (ROOT / ".ci" / "run").read_text(encoding="utf-8")
    assert all(
        re.search(rf"pip install .*{re.escape(what)}", script) for what in ("torch==2.13.0", "-e '.[app,cli,test]'")
    )


def test_the_first_command_draws_the_picture_above_it(tmp_path):
    run(FIRST[-1], "--output", tmp_path / "demo.png")
    drawn, shown = (Image.open(file) for file in (tmp_path / "demo.png", ROOT / "docs" / "images" / "demo.png"))
    difference = np.subtract(*(np.asarray(picture.convert("RGB"), dtype=float) for picture in (drawn, shown)))
    assert np.abs(difference).mean() < 1  # of 255; another processor rounds otherwise


def test_the_photos_that_come_along_draw_and_the_picture_tells_its_settings(tmp_path, monkeypatch):
    monkeypatch.chdir(ROOT)
    named = [re.sub(r"\b(ride|sheet)\.png", lambda name: str(tmp_path / name[0]), command) for command in GENERATE]
    run(named[0], "--steps", 4)
    result = CliRunner().invoke(app, shlex.split(named[1])[1:])
    assert '"prompt": "a cat is riding a horse in a meadow"' in result.output and '"steps": 4' in result.output
    assert (tmp_path / "sheet.png").is_file()
