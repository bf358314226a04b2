"""`generate --from`: one pipeline, one result line per job, and only what is missing is drawn."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from relationbooth_pipeline.generation import drawing, sources
from relationbooth_pipeline.sheets.png_settings import read_png_settings
from tests.relationbooth_pipeline.commands.conftest import run, world  # noqa: F401, the tiny miniature
from tests.relationbooth_pipeline.commands.tiny_world import generate


def write(jobs):
    Path("jobs.jsonl").write_text("\ufeff" + "\n\n".join(map(json.dumps, jobs)) + "\n", encoding="utf-8")


def results():
    return [json.loads(line) for line in Path("jobs.results.jsonl").read_text(encoding="utf-8").splitlines()]


def test_a_batch_draws_what_single_commands_draw_and_goes_on_where_it_ended(run, world, monkeypatch):  # noqa: F811
    photos = {"image": [str(world / "0.png"), str(world / "1.png")], "phrase": ["cat", "plushie bear"]}
    common = {"prompt": "a cat is hugging a plushie bear", "steps": 2}
    jobs = [
        {**common, **photos, "seed": 1, "output": "one.png", "lora": [["hug", 0.5]]},
        {**common, "seed": 2, "output": "two.png"},
        {**common, **photos, "seed": 3, "output": "three.png", "lora": [["no_such", None]]},
    ]
    write(jobs)
    loads = []
    load = sources.load_pipeline
    monkeypatch.setattr(drawing, "load_pipeline", lambda *args, **kwargs: loads.append(1) or load(*args, **kwargs))
    result = run("generate", "--from", "jobs.jsonl")
    assert result.exit_code == 1 and "2 drawn, 0 kept, 1 failed" in result.output, result.output
    assert len(loads) == 1
    told = results()
    assert [entry["status"] for entry in told] == ["drawn", "drawn", "failed"]
    assert [entry["line"] for entry in told] == [1, 3, 5] and "`--lora` must be" in told[2]["error"]
    assert not Path("three.png").exists()
    two = ["--image", world / "0.png", "--phrase", "cat", "--image", world / "1.png", "--phrase", "plushie bear"]
    assert generate(run, *two, "--seed", 1, "--lora", "hug:0.5", "--output", "single.png").exit_code == 0
    assert generate(run, "--seed", 2, "--output", "plain.png").exit_code == 0
    for ours, single in (("one.png", "single.png"), ("two.png", "plain.png")):
        assert np.array_equal(np.asarray(Image.open(ours)), np.asarray(Image.open(single)))
        assert read_png_settings(ours) == read_png_settings(single)
    before = Path("one.png").stat().st_mtime_ns
    jobs[2]["lora"] = []
    write(jobs)
    result = run("generate", "--from", "jobs.jsonl")
    assert result.exit_code == 0 and "1 drawn, 2 kept, 0 failed" in result.output, result.output
    assert Path("one.png").stat().st_mtime_ns == before and len(results()) == 6


@pytest.mark.parametrize(
    ("job", "message"),
    [
        ({"prompt": "a cat"}, "line 3: a job needs an `output`"),
        ({"prompt": "a cat", "output": "a.jpg"}, "must end in .png"),
        ({"prompt": "a cat", "output": "a.png", "model": "x/y"}, "do not know `model`"),
        ({"prompt": "a cat", "output": "a.png", "steps": "9"}, "`steps` must be a whole number, got '9'"),
        ({"prompt": "a cat", "output": "a.png", "phrase": "cat"}, "`phrase` must be a list of texts"),
        ({"output": "a.png"}, "settings need a `prompt`"),
        ({"prompt": "a cat", "output": "first.png"}, "must be two files"),
        ({"prompt": "a cat", "output": "a.png", "image": ["no.png"], "phrase": ["cat"]}, "no image file at"),
        ([1], "must be a JSON object"),
    ],
)
def test_a_wrong_line_is_named_before_anything_is_drawn(run, job, message):  # noqa: F811
    write([{"prompt": "a cat", "output": "first.png", "steps": 1}, job])
    result = run("generate", "--from", "jobs.jsonl")
    assert result.exit_code == 1 and message in result.output, result.output
    assert not Path("first.png").exists() and not Path("jobs.results.jsonl").exists()


def test_other_settings_beside_a_file_are_refused(run):  # noqa: F811
    result = run("generate", "--from", "jobs.jsonl", "--prompt", "a cat", "--seed", 0)
    assert result.exit_code == 1 and "leave out --prompt, --seed" in result.output
    result = run("generate", "--from", "no.jsonl")
    assert result.exit_code == 1 and "there is no file `no.jsonl`" in result.output
    result = run("generate")
    assert result.exit_code == 1 and "`--prompt` is needed" in result.output
