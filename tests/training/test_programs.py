"""The programs start in every form that people type, from any folder, and are installed."""

import os
import subprocess
import sys

import pytest
import tomllib

from tests.training.programs import PROGRAMS, ROOT


@pytest.mark.parametrize("program", PROGRAMS)
def test_a_file_runs_from_another_folder(program, tmp_path):
    """As `accelerate launch PATH/training/….py` does."""
    (tmp_path / "training").mkdir()  # somebody else's folder of that name
    (tmp_path / "training" / "__init__.py").write_text("raise ImportError('not this one')", encoding="utf-8")
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    command = [sys.executable, str(ROOT / "training" / f"{program}.py"), "--help"]
    found = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert found.returncode == 0 and "--mixed_precision" in found.stdout, found.stderr


def test_the_wheel_brings_every_folder_of_the_programs():
    packages = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["setuptools"]["packages"]
    folders = {f.parent.relative_to(ROOT).as_posix() for f in (ROOT / "training").rglob("*.py")}
    expected = {f"relationbooth_{folder.replace('/', '.')}" for folder in folders if "miniature" not in folder}
    assert expected == {package for package in packages if package.startswith("relationbooth_training")}
