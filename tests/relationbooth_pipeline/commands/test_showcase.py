"""`relationbooth demo --showcase` on a tiny model and two cases."""

import json
from importlib import import_module

import pytest
from PIL import Image

from relationbooth_pipeline.commands.demo import relations
from relationbooth_pipeline.evaluation.benches import miniature as bench
from relationbooth_pipeline.evaluation.cases import Case, CaseFile


@pytest.fixture
def cases(run, world, monkeypatch):
    """Bench of the tiny world: of each relation a case, and later ones that must not be drawn."""
    boxes = ((0.0, 0.2, 0.5, 0.9), (0.5, 0.2, 1.0, 0.9))
    told = dict(phrases=("cat", "bear"), references=(("0.png",), ("1.png",)), generate_with=(0, 0), boxes=boxes)
    alone = dict(phrases=("cat",), references=(("0.png", "1.png"),), generate_with=(1,), boxes=boxes[:1])
    made = (
        Case("hug-00", "a cat is hugging a bear", bench="tiny", predicate="hugging", **told),
        Case("jump-00", "a cat is jumping", bench="tiny", predicate="jumping", **alone),
        Case("hug-01", "a bear is hugging a bear", bench="tiny", predicate="hugging", **told),
    )
    monkeypatch.setattr(bench, "miniature_bench", lambda: CaseFile(made, world))
    return made


def test_every_relation_is_a_row_of_two_seeds(run, cases, monkeypatch):
    module, rows = import_module("relationbooth_pipeline.sheets.contact"), []

    def sheet(photos, phrases, boxes, pictures, prompt, draw=module.contact_sheet):
        rows.append((prompt, len(photos), {name: picture.tobytes() for name, picture in pictures.items()}))
        return draw(photos, phrases, boxes, pictures, prompt)

    monkeypatch.setattr(module, "contact_sheet", sheet)
    result = run("demo", "--showcase", "--seed", 3, "--output", "all.png")
    assert result.exit_code == 0, result.output
    assert [row[:2] for row in rows] == [("a cat is hugging a bear", 2), ("a cat is jumping", 1)]
    for _, _, pictures in rows:
        assert list(pictures) == ["seed 3", "seed 4"] and len(set(pictures.values())) == 2
    told = json.loads(run("info", "all.png").output)["settings"]
    assert told["relation"] == ", ".join(relations()) == "hug, jump" and told["seed"] == 3
    assert Image.open("all.png").height > 2 * 0.5 * 512
    again = run("demo", "--showcase", "--seed", 4, "--weight", 0.5, "--output", "weaker.png")
    assert again.exit_code == 0 and rows[2][2]["seed 4"] != rows[0][2]["seed 4"], "the weight is the RelationLoRA's"


def test_a_relation_beside_the_showcase_is_refused(run, cases, tmp_path):
    result = run("demo", "--showcase", "--relation", "hug")
    assert result.exit_code == 1 and "got `--relation hug` too. Leave one of them out" in result.output
    assert not list(tmp_path.iterdir())


def test_a_relation_without_a_case_is_named(run, cases, monkeypatch, world):
    monkeypatch.setattr(bench, "miniature_bench", lambda: CaseFile(cases[:1], world))
    result = run("demo", "--showcase")
    assert result.exit_code == 1 and "has no case of jump" in result.output
