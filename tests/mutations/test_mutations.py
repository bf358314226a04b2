"""The list of edits fits the code, and the runner tells caught, survived and inapplicable edits apart."""

import dataclasses

import pytest

from .edit import Edit
from .edits import EDITS
from .runner import CAUGHT, ROOT, SURVIVED, verdicts


@pytest.mark.parametrize("edit", EDITS, ids=lambda edit: edit.name)
def test_every_edit_applies_and_its_test_exists(edit):
    assert edit.new in edit.applied_to(ROOT)


def test_names_are_unique_and_the_list_is_long():
    assert len({edit.name for edit in EDITS}) == len(EDITS) >= 60


def test_the_runner_tells_apart_and_leaves_the_source_alone(tmp_path):
    (tmp_path / "source.py").write_text("def half(x):\n    return x / 2\n", encoding="utf-8")
    (tmp_path / "test_source.py").write_text(
        "from source import half\n\ndef test_value():\n    assert half(4) == 2\n\n"
        "def test_weak():\n    assert half(4) > 0\n\ndef test_skipped():\n    import pytest\n    pytest.skip()\n",
        encoding="utf-8",
    )
    before = {file: file.read_bytes() for file in tmp_path.iterdir()}
    edit = Edit("three", "source.py", "x / 2", "x / 3", "test_source.py::test_value")
    changes = [
        {},
        {"test": "test_source.py::test_weak"},
        {"test": "test_source.py::test_skipped"},
        {"new": "x / (2"},  # no answer to the law
        {"old": "x / 4"},
        {"old": "x"},
        {"test": "test_source.py::test_absent"},
        {},
    ]
    edits = [dataclasses.replace(edit, **change) for change in changes]
    found = [verdict for _, verdict in verdicts(edits, root=tmp_path)]
    assert found[:3] == [CAUGHT, SURVIVED, SURVIVED] and found[-1] == CAUGHT
    for verdict, message in zip(
        found[3:-1], ("could not run", "occur once in source.py, got 0", "got 2", "there is no test")
    ):
        assert message in verdict
    assert {file: file.read_bytes() for file in tmp_path.iterdir()} == before
