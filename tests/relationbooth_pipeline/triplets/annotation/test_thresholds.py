"""Thresholds: the page's table is the dataclass, and every one of them is one that a rule compares with."""

import json
import re
from dataclasses import fields
from pathlib import Path

import pytest

from relationbooth_pipeline.triplets.annotation import Thresholds, rules

ROOT = Path(__file__).parents[4]


def test_the_page_s_table_is_the_dataclass():
    page = (ROOT / "docs" / "triplets.md").read_text(encoding="utf-8")
    table = page.split("| threshold | value | why | source |\n|---|---|---|---|\n")[1].split("\n\n")[0]
    wanted = [
        f"| `{name}` | {told['value']:g} | {told['reason']} | {told['source']} |"
        for name, told in Thresholds().describe().items()
    ]
    assert table.split("\n") == wanted


def test_every_threshold_is_used_and_no_number_stands_beside_them():
    folder = Path(rules.__file__).parent
    used = set(re.findall(r"\bt\.(\w+)", "".join(f.read_text() for f in folder.glob("*rules.py"))))
    assert used == {one.name for one in fields(Thresholds)}


def test_one_is_changed_and_the_others_stay():
    changed = Thresholds().changed(["box_area=0.2", "identity = -1".replace(" ", "")])
    assert (changed.box_area, changed.identity, changed.box_score) == (0.2, -1.0, Thresholds().box_score)


def test_what_was_written_is_read_and_another_version_s_is_refused(tmp_path):
    changed = Thresholds().changed(["identity=1.5"])
    changed.write(tmp_path)
    assert Thresholds.read(tmp_path) == changed
    (tmp_path / "thresholds.json").write_text(json.dumps({**changed.describe(), "beauty": {"value": 1}}))
    with pytest.raises(ValueError, match="must name the thresholds of this version, but differs in beauty. Run"):
        Thresholds.read(tmp_path)
