"""`relationbooth generate` on tiny models: pictures, their settings, and refusals before models load."""

import json

import pytest
from PIL import Image

from relationbooth_pipeline import miniature
from relationbooth_pipeline.commands.main import ILLUSTRATION_ONLY
from relationbooth_pipeline.sheets.png_settings import read_png_settings
from tests.relationbooth_pipeline.commands.tiny_world import LEFT, PROMPT, RIGHT, generate


def test_picture_keeps_its_settings_and_repeats_from_them(run, two, tmp_path):
    arguments = [*two, "--box", LEFT, "--box", RIGHT, "--seed", 7, "--image-prompt-scale", 0.8, "--lora", "hug:0.5"]
    result = generate(run, *arguments, "--output", "one.png", "--negative-prompt", "red")
    assert result.exit_code == 0, result.output
    settings = read_png_settings("one.png")
    assert settings["prompt"] == PROMPT and settings["seed"] == 7 and settings["steps"] == 2
    assert settings["model"] == "miniature" and settings["lora"] == [["hug", 0.5]]
    assert settings["box"] == [[0, 0.2, 0.55, 0.85], [0.5, 0.25, 1, 0.9]]
    assert (settings["width"], settings["height"]) == Image.open("one.png").size == (64, 64)
    assert str(tmp_path) not in json.dumps({**settings, "image": None})
    told = run("info", "one.png")
    assert json.loads(told.output)["settings"] == settings
    generate(run, *arguments, "--output", "two.png", "--negative-prompt", "red")
    assert Image.open("one.png").tobytes() == Image.open("two.png").tobytes()
    assert sorted(p.name for p in tmp_path.iterdir()) == ["one.png", "two.png"]  # no temporary file stays


def test_image_prompts_act_and_seed_is_drawn_and_kept(run, two):
    plain = generate(run, "--output", "plain.png", "--seed", 1)
    ours = generate(run, *two, "--output", "ours.png", "--seed", 1)
    assert plain.exit_code == ours.exit_code == 0, plain.output + ours.output
    assert Image.open("plain.png").tobytes() != Image.open("ours.png").tobytes()
    assert ILLUSTRATION_ONLY not in plain.output and ILLUSTRATION_ONLY in ours.output.replace("\n", " ")
    assert generate(run, "--output", "drawn.png").exit_code == 0
    assert isinstance(read_png_settings("drawn.png")["seed"], int)


def test_size_and_other_model_folders(run, two, world):
    result = generate(run, *two, "--model", world / "weights", "--height", 48, "--width", 80, "--dtype", "bfloat16")
    assert result.exit_code == 0, result.output
    assert Image.open("relationbooth.png").size == (80, 48)


def test_local_tokens_can_be_turned_off_by_name(run, two, world):
    adapter = ["--adapter", world / "weights" / "relation_adapter"]
    for name, more in (("with.png", []), ("without.png", ["--local-image-encoder", "none"])):
        result = generate(run, *two, *adapter, *more, "--seed", 1, "--output", name)
        assert result.exit_code == 0, result.output
    assert Image.open("with.png").tobytes() != Image.open("without.png").tobytes()


def test_lora_brings_its_weight_and_layout(run, two):
    result = generate(run, *two, "--lora", "hug")
    assert result.exit_code == 0, result.output
    settings = read_png_settings("relationbooth.png")
    assert settings["lora"] == [["hug", 0.7]]
    assert settings["box"] == [[0.0, 0.1, 0.5, 0.9], [0.5, 0.1, 1.0, 0.9]]


def test_sheet_shows_references_boxes_and_result(run, two):
    result = generate(run, *two, "--sheet", "sheet.png")
    assert result.exit_code == 0, result.output
    sheet = Image.open("sheet.png")
    assert sheet.width > 3 * 256 and sheet.height > 512
    # The first object's colour frames its reference and its box.
    assert (217, 48, 37) in {color for _, color in sheet.convert("RGB").getcolors(1 << 20)}
    assert read_png_settings("sheet.png")["prompt"] == PROMPT


def test_unknown_words_are_named_not_refused(run, two):
    result = generate(run, *two, prompt="a zebra is hugging a bear on the beach")
    assert result.exit_code == 0, result.output
    warning = result.output.partition("never saw these words and cannot draw them: ")[2].splitlines()[0]
    assert "zebra" in warning and "hugging" not in warning


REFUSALS = {
    "no phrase": (["--image", "PHOTO"], "every `--image` needs a `--phrase`"),
    "counts": (["--image", "PHOTO", "--image", "PHOTO", "--phrase", "cat"], "one entry per image prompt"),
    "box count": (["--image", "PHOTO", "--phrase", "cat", "--box", LEFT, "--box", RIGHT], "one entry per image prompt"),
    "pixel box": (["--image", "PHOTO", "--phrase", "cat", "--box", "0,0,300,400"], "XYXY in [0, 1]"),
    "reversed box": (["--image", "PHOTO", "--phrase", "cat", "--box", "0.9,0,0.1,1"], "x0 < x1"),
    "three numbers": (["--image", "PHOTO", "--phrase", "cat", "--box", "0,0,1"], "four finite numbers"),
    "words as box": (["--image", "PHOTO", "--phrase", "cat", "--box", "left"], "numbers in [0, 1]"),
    "phrase alone": (["--phrase", "cat"], "without `--image`"),
    "missing image": (["--image", "absent.png", "--phrase", "cat"], "no image file"),
    "adapter off": (["--image", "PHOTO", "--phrase", "cat", "--adapter", "none"], "turns image prompts off"),
    "adapter path": (["--adapter", "absent folder"], "there is no `absent folder`"),
    "encoder alone": (["--image-encoder", "owner/name"], "belongs to an adapter"),
    "model": (["--model", "no such model"], "there is no `no such model`"),
    "lora": (["--lora", "kiss"], "This model's own: hug"),
    "size": (["--height", "50"], "`--height` must be a positive multiple of 8, got 50"),
    "steps": (["--steps", "0"], "`--steps` must be at least 1"),
    "rescale": (["--guidance-rescale", "2"], "in [0, 1]"),
    "seed": (["--seed", "-1"], "`--seed` must be in"),
    "output folder": (["--output", "absent/one.png"], "does not exist"),
    "output kind": (["--output", "one.jpg"], "must end in .png"),
    "one file": (["--sheet", "relationbooth.png"], "must be two files"),
    "dtype": (["--dtype", "int8"], "`--dtype` must be one of"),
    "device": (["--device", "toaster"], "`--device` must be auto"),
    "offload": (["--offload", "model", "--device", "cpu"], "the device is the CPU"),
}


@pytest.mark.parametrize("name", REFUSALS)
def test_refusals_come_before_models_load(run, world, tmp_path, monkeypatch, name):
    def forbidden(*args, **kwargs):
        raise AssertionError("a model was loaded")

    monkeypatch.setattr("relationbooth_pipeline.generation.drawing.load_pipeline", forbidden)
    arguments, message = REFUSALS[name]
    result = run("generate", "--prompt", PROMPT, *[world / "0.png" if a == "PHOTO" else a for a in arguments])
    assert result.exit_code == 1 and message in result.output, result.output
    assert "Traceback" not in result.output and len(result.output.strip().splitlines()) == 1
    assert not list(tmp_path.iterdir())


def test_faults_found_while_loading_are_clean_too(run, two, world, tmp_path):
    broken = tmp_path / "broken"
    broken.mkdir()
    result = generate(run, "--model", broken)
    assert result.exit_code == 1 and "could not be loaded" in result.output, result.output
    plain = tmp_path / "plain"
    plain.symlink_to(world / "weights")
    result = generate(run, *two, "--adapter", world / "weights")
    assert result.exit_code == 1 and "no relation adapter" in result.output, result.output
    assert not (tmp_path / "relationbooth.png").exists()


def test_miniature_without_weights_says_so(tmp_path, monkeypatch):
    monkeypatch.setattr(miniature, "__file__", str(tmp_path / "__init__.py"))
    with pytest.raises(ValueError, match="the miniature's weights are missing"):
        miniature.path()
