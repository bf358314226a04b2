"""What may be typed, and where pictures may go: laws of the checks that need no model."""

import ast
import math
from pathlib import Path

import pytest

from relationbooth_pipeline import generation
from relationbooth_pipeline.generation.checks import LIMITS, check_number, check_source, refuse_url
from relationbooth_pipeline.generation.outputs import check_apart, check_output, numbered
from relationbooth_pipeline.generation.settings import GenerationSettings, parse_lora
from tests.tiny import photo


@pytest.mark.parametrize("name", LIMITS)
def test_every_number_has_limits_that_it_may_reach_and_not_pass(name):
    least, most = LIMITS[name]
    flag = "--" + name.replace("_", "-")
    for value in (least, most):
        GenerationSettings("a cat", **{name: value}).checked()
    for value in (least - 1, most + 1, math.nan, math.inf, -math.inf, "1", True):
        with pytest.raises(ValueError, match=f"`{flag}` must be"):
            GenerationSettings("a cat", **{name: value}).checked()


@pytest.mark.parametrize("name", ["seed", "count", "steps", "height", "width"])
def test_whole_numbers_are_whole(name):
    with pytest.raises(ValueError, match=f"`--{name}` must be a (whole number|multiple of 8) from"):
        GenerationSettings("a cat", **{name: 8.5}).checked()


def test_a_multiple_is_one():
    check_number("--size", 28, 14, 280, multiple=14)
    with pytest.raises(ValueError, match="`--size` must be a multiple of 14 from 14 to 280, got 29"):
        check_number("--size", 29, 14, 280, multiple=14)


def test_drawn_seeds_leave_room_for_all_pictures():
    settings = GenerationSettings("a cat", count=1000)
    settings.checked()
    assert 0 <= settings.seed <= 2**32 - 1000


@pytest.mark.parametrize(
    "text, expected",
    [
        ("hug", ("hug", None)),
        ("owner/name", ("owner/name", None)),
        ("owner/name:0.25", ("owner/name", 0.25)),
        ("hug:0", ("hug", 0.0)),
        ("hug:1e-1", ("hug", 0.1)),
        (r"C:\loras\hug.safetensors", (r"C:\loras\hug.safetensors", None)),
        (r"C:\loras\hug.safetensors:0.5", (r"C:\loras\hug.safetensors", 0.5)),
        ("C:/loras/hug.safetensors", ("C:/loras/hug.safetensors", None)),
    ],
)
def test_a_lora_s_weight_stands_after_the_last_colon(text, expected):
    assert parse_lora(text) == expected


def test_a_file_may_hold_a_colon(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "hug:0.5").mkdir()
    assert parse_lora("hug:0.5") == ("hug:0.5", None)


@pytest.mark.parametrize(
    "url",
    ["https://a.org/x", "http://a.org", "https:/a.org/x", "s3://b/c", "file:///x.png", "data:image/png;base64,AA"],
)
def test_urls_are_said_to_be_unsupported(url):
    with pytest.raises(ValueError, match="`--image` does not read URLs"):
        refuse_url("--image", url)


@pytest.mark.parametrize("source", ["cat.png", "owner/name", r"C:\cat.png", "C:/cat.png", "database", "a:b"])
def test_other_names_are_no_urls(source):
    refuse_url("--image", source)


@pytest.mark.parametrize(
    "source", ["./name", "../name", "folder/file.safetensors", "folder/file.bin", "one name", "a/b/c"]
)
def test_missing_paths_are_not_looked_for_on_the_hub(source):
    with pytest.raises(ValueError, match="there is no `"):
        check_source("--model", source)
    check_source("--model", "owner/name-1.0")


def test_several_pictures_are_numbered_before_the_suffix(tmp_path):
    assert [p.name for p in numbered(tmp_path / "a.b.png", 3)] == ["a.b.png", "a.b_1.png", "a.b_2.png"]


def test_a_name_that_the_disk_takes_is_written_and_a_longer_one_refused(tmp_path):
    longest = tmp_path / ("a" * 251 + ".png")
    check_output("--output", longest)
    photo().save(longest)
    with pytest.raises(ValueError, match="`--output`: a file cannot have this name .* Choose another name"):
        check_output("--output", tmp_path / ("a" * 252 + ".png"))
    with pytest.raises(ValueError, match="`--output`: a file cannot have this name"):
        check_output("--output", tmp_path / ("熊" * 100 + ".png"))  # 304 bytes
    assert [p.name for p in tmp_path.iterdir()] == [longest.name]


def test_outputs_are_apart_whatever_they_are_called(tmp_path):
    (tmp_path / "link").symlink_to(tmp_path)
    one, same = tmp_path / "a.png", tmp_path / "link" / "a.png"
    check_apart([("--output", one), ("--sheet", tmp_path / "b.png")], inputs=[tmp_path / "c.png"])
    with pytest.raises(ValueError, match="`--sheet` and `--output` must be two files"):
        check_apart([("--output", one), ("--sheet", same)])
    with pytest.raises(ValueError, match="`--output` would replace"):
        check_apart([("--output", one)], inputs=[same])


def test_generation_knows_no_command_line():
    """So that an app or an evaluation program can use it."""
    for file in Path(generation.__path__[0]).glob("*.py"):
        nodes = [
            n
            for n in ast.walk(ast.parse(file.read_text(encoding="utf-8")))
            if isinstance(n, (ast.Import, ast.ImportFrom))
        ]
        found = {(getattr(n, "module", None) or n.names[0].name).partition(".")[0] for n in nodes}
        assert not found & {"typer", "rich", "click"}, file
