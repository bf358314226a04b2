"""`generate --from`, run again: a picture is kept only when it tells the settings that its line asks for."""

import json
import shutil
from pathlib import Path

import pytest
from PIL import Image

from relationbooth_pipeline.generation import sources
from relationbooth_pipeline.sheets.png_settings import read_png_settings, save_png
from tests.relationbooth_pipeline.commands.conftest import run, world  # noqa: F401, the tiny miniature
from tests.relationbooth_pipeline.commands.tiny_world import BOXES, HUG, write_lora
from tests.tiny import photo, tiny_pipeline

LORA = "hug.safetensors"
PLAIN = {"prompt": "a cat is hugging a bear", "steps": 1, "output": "a.png"}
JOB = {**PLAIN, "seed": 1, "image": ["cat.png", "bear.png"], "phrase": ["cat", "bear"], "lora": [[LORA, None]]}


@pytest.fixture
def told(run, tmp_path, monkeypatch):  # noqa: F811
    """Runs the one job given, its photos and LoRA beside it; the results line."""
    for i, name in enumerate(JOB["image"]):
        photo(i).save(name)
    shutil.move(write_lora(tiny_pipeline(adapter=False).unet, tmp_path / "lora", HUG), LORA)

    def call(job):
        Path("jobs.jsonl").write_text(json.dumps(job), encoding="utf-8")
        run("generate", "--from", "jobs.jsonl")
        return json.loads(Path("jobs.results.jsonl").read_text(encoding="utf-8").splitlines()[-1])

    return call


def test_a_picture_of_the_same_settings_is_kept_without_a_model(told, monkeypatch):
    """Whatever its line leaves to the model, to the LoRA's header or to chance."""
    jobs = [JOB, PLAIN, {**JOB, "automatic_layout": True}, {**JOB, "lora": [["hug", 1], [LORA, 0.5], [LORA, 0]]}]
    jobs += [{**JOB, "lora": [], "width": 72, "image_prompt_scale": [0.4, 0.5]}, {**JOB, "box": BOXES}]
    jobs += [{**JOB, "mask": ["cat.png", None]}, {**JOB, "image": ["cat.png"], "phrase": ["cat"]}]
    jobs = [{**job, "output": f"{number}.png"} for number, job in enumerate(jobs)]
    assert [told(job)["status"] for job in jobs] == ["drawn"] * len(jobs)
    monkeypatch.setattr(sources, "load_pipeline", lambda *args, **kwargs: 1 / 0)
    assert [told(job) for job in jobs] == [
        {"line": 1, "output": str(Path(job["output"])), "status": "kept"} for job in jobs
    ]


OTHERS = {
    "the prompt": ({"prompt": "a cat"}, "prompt: 'a cat is hugging a bear' → 'a cat'"),
    "the seed": ({"seed": 2}, "seed: 1 → 2"),
    "the LoRA's weight": ({"lora": [[LORA, 1.0]]}, f"lora: [['{LORA}', 0.7]] → [['{LORA}', 1.0]]"),
    "another LoRA": ({"lora": [["hug", None]]}, f"lora: [['{LORA}', 0.7]] → [['hug', 0.7]], lora_sha256: ['"),
    "the LoRA with its layout": ({"lora": []}, f"lora: [['{LORA}', 0.7]] → []"),
    "the boxes": ({"box": BOXES[::-1]}, f"box: {BOXES} → {BOXES[::-1]}"),
    "the size": ({"height": 72}, "height: 64 → 72"),
    "the layout": ({"automatic_layout": True}, "automatic_layout: False → True"),
    "the photos": ({"image": ["bear.png", "cat.png"]}, "image: [{'name': 'cat.png', 'sha256': '"),
}


@pytest.mark.parametrize("other", OTHERS)
def test_a_picture_of_other_settings_is_refused_and_stays(told, other):
    change, message = OTHERS[other]
    assert told(JOB)["status"] == "drawn"
    before = Path("a.png").read_bytes()
    entry = told({**JOB, **change})
    assert entry["status"] == "failed" and message in entry["error"], entry
    assert entry["error"].startswith("`a.png` holds a picture of other settings (")
    assert entry["error"].endswith("). Remove it or name another output.") and Path("a.png").read_bytes() == before


@pytest.mark.parametrize("given", [{"box": BOXES[::-1]}, {"width": 72}])
def test_what_a_line_no_longer_says_differs_too(told, given):
    """The model's own size and the LoRA's layout are what is asked for then."""
    assert told({**JOB, **given})["status"] == "drawn"
    assert f"other settings ({next(iter(given))}: " in told(JOB)["error"]


def test_what_a_file_holds_decides_not_its_name(told):
    assert told(JOB)["status"] == "drawn"
    shutil.copy("bear.png", "cat.png")
    assert "other settings (image: " in told(JOB)["error"]
    photo(0).save("cat.png")
    assert told(JOB)["status"] == "kept"
    write_lora(tiny_pipeline(adapter=False).unet, Path("new"), HUG, rank=3).replace(LORA)
    assert "other settings (lora_sha256: " in told(JOB)["error"]


def test_files_of_other_programs_and_sheets_are_refused(told):
    photo().save("a.png")
    assert "`a.png` holds a picture without settings" in told(JOB)["error"]
    Path("a.png").write_bytes(b"no picture")
    assert "`a.png` is no readable PNG" in told(JOB)["error"]
    Path("a.png").unlink()
    told(JOB)
    with Image.open("a.png") as picture:
        save_png(picture.copy(), "a.png", read_png_settings("a.png") | {"kind": "sheet"})
    assert "kind: 'sheet' → 'generated picture'" in told(JOB)["error"]
