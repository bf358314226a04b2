"""A triplet folder for every test."""

import pytest

from .folders import save_folder


@pytest.fixture
def folder(tmp_path):
    """A folder with one valid triplet of two objects that overlap."""
    return save_folder(tmp_path)
