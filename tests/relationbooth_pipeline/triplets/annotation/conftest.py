"""A work folder of drawn blocks after the stage filter."""

import shutil

import pytest

from . import drawn
from .drawn import annotated, save_pictures


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A folder with pictures and their work, annotated once."""
    folder = tmp_path_factory.mktemp("made")
    annotated(folder / "work", save_pictures(folder / "pictures"))
    return folder


@pytest.fixture
def work(made, tmp_path):
    shutil.copytree(made, tmp_path, dirs_exist_ok=True)
    return drawn.WorkFolder(tmp_path / "work")
