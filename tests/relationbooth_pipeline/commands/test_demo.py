"""`relationbooth demo` on a tiny model."""

import json
from importlib import import_module

import pytest
from PIL import Image


def test_the_demo_shows_both_pictures_from_one_seed(run):
    result = run("demo", "--relation", "hug", "--seed", 3)
    assert result.exit_code == 0, result.output
    told = json.loads(run("info", "demo.png").output)
    assert told["kind"] == "demo" and told["settings"]["relation"] == "hug" and told["settings"]["seed"] == 3
    assert told["settings"]["weight"] == "as each RelationLoRA suggests"
    first = Image.open("demo.png")
    assert first.width > 3 * 512 + 256  # boxes and two results, and the references
    assert run("demo", "--relation", "hug", "--seed", 3, "--output", "again.png").exit_code == 0
    assert first.tobytes() == Image.open("again.png").tobytes()
    for other in (("--seed", 4), ("--seed", 3, "--weight", 0.5)):
        run("demo", "--relation", "hug", *other, "--output", "other.png")
        assert first.tobytes() != Image.open("other.png").tobytes()
    run("demo", "--relation", "hug", "--seed", 3, "--weight", 0.7, "--output", "same.png")
    assert first.tobytes() == Image.open("same.png").tobytes(), "the RelationLoRA's header suggests 0.7"


def test_the_demo_of_an_action_shows_one_character(run):
    run("demo", "--relation", "hug", "--output", "two.png")
    result = run("demo", "--relation", "jump", "--output", "one.png")
    assert result.exit_code == 0, result.output
    assert Image.open("one.png").width == Image.open("two.png").width + 256  # one reference takes a whole panel


def test_the_demo_names_what_there_is(run):
    result = run("demo", "--relation", "dancing")
    assert result.exit_code == 1 and "`--relation` must be one of hug, jump, got 'dancing'" in result.output


def test_an_unknown_relation_is_told_before_any_bar(run, monkeypatch):
    def forbidden():
        raise AssertionError("a bar was drawn")

    monkeypatch.setattr(import_module("relationbooth_pipeline.commands.demo"), "denoising_progress", forbidden)
    result = run("demo", "--relation", "dancing")
    assert result.exit_code == 1 and result.output.strip().splitlines() == [
        "Error: `--relation` must be one of hug, jump, got 'dancing'."
    ]


@pytest.mark.parametrize(
    "arguments, message",
    [
        (["--weight", "nan"], "`--weight` must be a number from 0 to 10, got nan"),
        (["--weight", "inf"], "`--weight` must be"),
        (["--weight", "-1"], "`--weight` must be"),
        (["--weight", "1e6"], "`--weight` must be"),
        (["--seed", "-1"], "`--seed` must be a whole number from 0 to 4294967295, got -1"),
        (["--seed", "4294967296"], "`--seed` must be"),
        (["--output", "a" * 260 + ".png"], "`--output`: a file cannot have this name"),
        (["--output", "demo.jpg"], "must end in .png"),
    ],
)
def test_refusals_before_anything_is_drawn(run, tmp_path, monkeypatch, arguments, message):
    monkeypatch.setattr(import_module("relationbooth_pipeline.commands.demo"), "draw_demo", lambda *args: 1 / 0)
    result = run("demo", "--relation", "hug", *arguments)
    assert result.exit_code == 1 and message in result.output, result.output
    assert not list(tmp_path.iterdir())
