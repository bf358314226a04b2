"""`generate --from`: one pipeline, one result line per job, and only what is missing is drawn."""

import base64
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from relationbooth_pipeline import RelationBoothPipeline
from relationbooth_pipeline.generation import drawing, sources
from relationbooth_pipeline.generation.jobs import read_jobs
from relationbooth_pipeline.generation.settings import GenerationSettings
from relationbooth_pipeline.relation_files import LORA_WEIGHT_NAME
from relationbooth_pipeline.sheets.png_settings import read_png_settings
from tests.relationbooth_pipeline.commands.conftest import run, world  # noqa: F401, the tiny miniature
from tests.relationbooth_pipeline.commands.tiny_world import generate
from tests.tiny import photo


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
    monkeypatch.setattr(sources, "load_pipeline", lambda *args, **kwargs: loads.append(1) or load(*args, **kwargs))
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
    result = run("generate", "--from", "jobs.jsonl")
    assert result.exit_code == 0 and "0 drawn, 3 kept, 0 failed" in result.output, result.output
    assert len(loads) == 2  # finished jobs need no model


def test_a_model_or_adapter_that_cannot_load_is_told_once(run, world, monkeypatch):  # noqa: F811
    """All jobs share them, so none is tried again; a LoRA that cannot load is its own job's."""
    write([{"prompt": "a cat", "steps": 1, "output": f"{number}.png"} for number in range(3)])
    shutil.copytree(world / "weights" / "relation_adapter", "adapter", ignore=shutil.ignore_patterns("*.safetensors"))
    loads, load = [], sources.load_pipeline
    monkeypatch.setattr(sources, "load_pipeline", lambda *args, **kwargs: loads.append(1) or load(*args, **kwargs))
    monkeypatch.setattr(drawing, "load_pipeline", sources.load_pipeline)
    result = run("generate", "--from", "jobs.jsonl", "--adapter", "adapter")
    assert result.exit_code == 1 and "Error: no RelationAdapter could be loaded" in result.output, result.output
    assert len(loads) == 1 and not Path("jobs.results.jsonl").exists()

    def full(*args, **kwargs):
        raise RuntimeError("out of memory")

    monkeypatch.setattr(RelationBoothPipeline, "to", full)
    result = run("generate", "--from", "jobs.jsonl")
    assert result.exit_code == 1 and "could not be loaded (RuntimeError): out of memory" in result.output, result.output


def test_a_job_without_memory_or_disk_does_not_stop_the_others(run, world, monkeypatch):  # noqa: F811
    write([{"prompt": "a cat", "steps": 1, "seed": seed, "output": f"{seed}.png"} for seed in range(3)])
    save, errors = drawing.save, iter([RuntimeError("out of memory"), OSError("no space left"), None])

    def failing(*args):
        if (error := next(errors)) is not None:
            raise error
        return save(*args)

    monkeypatch.setattr(drawing, "save", failing)
    result = run("generate", "--from", "jobs.jsonl")
    assert result.exit_code == 1 and "1 drawn, 0 kept, 2 failed" in result.output, result.output
    assert [entry.get("error") for entry in results()] == [
        "RuntimeError: out of memory",
        "OSError: no space left",
        None,
    ]


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
        (
            {"prompt": "a cat", "output": "a.png", "image": ["cat.png"], "phrase": ["cat"], "mask": ["no.png"]},
            "no image",
        ),
        ({"prompt": "a cat", "output": "a.png", "mask": ["http://a.org/m.png"]}, "`mask` does not read URLs"),
        ({"prompt": "a cat", "output": "a.png", "mask": [{"name": "m", "sha256": "0"}]}, "`mask` must hold paths here"),
        ({"prompt": "a cat", "output": "cat.png", "image": ["cat.png"], "phrase": ["cat"]}, "would replace"),
        (
            {"prompt": "a cat", "output": "m.png", "image": ["cat.png"], "phrase": ["cat"], "mask": ["m.png"]},
            "`output of line 3` would replace `m.png`, which is read",
        ),
        ({"prompt": "a cat", "output": "a.png", "steps": 10**400}, "`--steps` must be a whole number from 1 to 1000"),
        ({"prompt": "a cat", "output": "a.png", "guidance_scale": 10**400}, "`guidance_scale` must be a number"),
        (
            {"prompt": "a cat", "output": "a.png", "image": ["cat.png"], "phrase": ["cat"], "box": [[0, 0, 10**29, 1]]},
            "`--box` must be XYXY in [0, 1]",
        ),
        ([1], "must be a JSON object"),
    ],
)
def test_a_wrong_line_is_named_before_anything_is_drawn(run, job, message):  # noqa: F811
    for name in ("cat.png", "m.png"):
        photo().save(name)
    write([{"prompt": "a cat", "output": "first.png", "steps": 1}, job])
    result = run("generate", "--from", "jobs.jsonl")
    assert result.exit_code == 1 and message in result.output, result.output
    assert not Path("first.png").exists() and not Path("jobs.results.jsonl").exists()


def test_other_settings_beside_a_file_are_refused(run):  # noqa: F811
    result = run("generate", "--from", "jobs.jsonl", "--prompt", "a cat", "--seed", 0)
    assert result.exit_code == 1 and "leave out --prompt, --seed" in result.output
    result = run("generate", "--from", "jobs.jsonl", "--count", 1, "--output", "relationbooth.png")
    assert result.exit_code == 1 and "leave out --count, --output" in result.output
    result = run("generate", "--from", "no.jsonl")
    assert result.exit_code == 1 and "there is no file `no.jsonl`" in result.output
    result = run("generate")
    assert result.exit_code == 1 and "`--prompt` is needed" in result.output


def test_paths_are_relative_to_the_file_and_names_stay_names(run, world):  # noqa: F811
    folder, data = Path("jobs"), "data:image/png;base64,"
    folder.mkdir()
    shutil.copy(world / "0.png", folder / "cat.png")
    shutil.copy(world / "weights" / "relation_loras" / "hug" / LORA_WEIGHT_NAME, folder / "mine.safetensors")
    Image.new("L", (64, 64), 255).save(folder / "mask.png")
    painted = data + base64.b64encode((folder / "mask.png").read_bytes()).decode()
    loras = [["mine.safetensors", 0.5], ["hug", 0.7], ["owner/name", None]]
    job = {"prompt": "a cat", "image": ["cat.png"] * 3, "phrase": ["cat"] * 3, "mask": ["mask.png", None, painted]}
    (folder / "jobs.jsonl").write_text(json.dumps({**job, "lora": loras, "output": "a.png"}), encoding="utf-8")
    (read,) = read_jobs(folder / "jobs.jsonl", GenerationSettings(""))
    assert read.settings.mask == [str(folder / "mask.png"), None, painted]
    assert read.settings.lora == [(str(folder / "mine.safetensors"), 0.5), ("hug", 0.7), ("owner/name", None)]
    assert read.settings.files() == [str(folder / "cat.png")] * 3 + [str(folder / "mask.png")]


def test_a_job_is_a_line_whatever_its_prompt_holds(run):  # noqa: F811
    job = {"prompt": "a cat\u2028a bear", "output": "a.png"}
    Path("jobs.jsonl").write_text(json.dumps(job, ensure_ascii=False) + "\r\n", encoding="utf-8")
    assert [read.settings.prompt for read in read_jobs(Path("jobs.jsonl"), GenerationSettings(""))] == [job["prompt"]]
    Path("jobs.jsonl").write_bytes(b"\x89PNG")
    result = run("generate", "--from", "jobs.jsonl")
    assert result.exit_code == 1 and "`--from`: `jobs.jsonl` is no UTF-8 text" in result.output, result.output


def test_results_that_cannot_be_written_are_told_before_anything_is_drawn(run):  # noqa: F811
    write([{"prompt": "a cat", "output": "a.png", "steps": 1}])
    Path("jobs.results.jsonl").mkdir()
    result = run("generate", "--from", "jobs.jsonl")
    message = "the results go to `jobs.results.jsonl`, which must be a file, but is a folder"
    assert result.exit_code == 1 and message in result.output and not Path("a.png").exists(), result.output
