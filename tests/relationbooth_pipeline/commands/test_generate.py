"""`relationbooth generate` on tiny models: pictures, their settings, what the user is warned of."""

import hashlib
import json
import shutil
from pathlib import Path

import pytest
from PIL import Image

from relationbooth_pipeline import miniature
from relationbooth_pipeline.commands.generate import ILLUSTRATION_ONLY
from relationbooth_pipeline.generation import drawing
from relationbooth_pipeline.sheets.png_settings import read_png_settings
from tests.relationbooth_pipeline.commands.tiny_world import LEFT, PROMPT, RIGHT, generate


def typed(settings, folder):
    """Arguments that ask for the picture of these settings; references are found in `folder` by their hash."""
    files = {hashlib.sha256(file.read_bytes()).hexdigest(): file for file in folder.glob("*.png")}
    arguments = [part for image in settings["image"] for part in ("--image", files[image["sha256"]])]
    arguments += [part for phrase in settings["phrase"] for part in ("--phrase", phrase)]
    arguments += [part for box in settings["box"] for part in ("--box", ",".join(map(str, box)))]
    arguments += [part for name, weight in settings["lora"] for part in ("--lora", f"{name}:{weight}")]
    for name in ("model", "negative_prompt", "seed", "height", "width", "steps", "guidance_scale", "guidance_rescale"):
        arguments += [f"--{name.replace('_', '-')}", settings[name]]
    return [*arguments, "--image-prompt-scale", settings["image_prompt_scale"]]


def test_picture_keeps_its_settings_and_repeats_from_them(run, two, world, tmp_path):
    arguments = [*two, "--box", LEFT, "--box", RIGHT, "--seed", 7, "--image-prompt-scale", 0.8, "--lora", "hug:0.5"]
    result = generate(run, *arguments, "--output", "one.png", "--negative-prompt", "red")
    assert result.exit_code == 0, result.output
    settings = read_png_settings("one.png")
    assert settings["prompt"] == PROMPT and settings["seed"] == 7 and settings["steps"] == 2
    assert settings["model"] == "miniature" and settings["lora"] == [["hug", 0.5]]
    assert settings["box"] == [[0, 0.2, 0.55, 0.85], [0.5, 0.25, 1, 0.9]]
    assert (settings["width"], settings["height"]) == Image.open("one.png").size == (64, 64)
    assert [image["name"] for image in settings["image"]] == ["0.png", "1.png"]
    weights = world / "weights" / "relation_loras" / "hug" / "pytorch_lora_weights.safetensors"
    assert settings["lora_sha256"] == [hashlib.sha256(weights.read_bytes()).hexdigest()]
    for folder in (tmp_path, world):
        assert str(folder) not in json.dumps(settings)
    told = json.loads(run("info", "one.png").output)
    watermark = "none: pictures below 256 pixels get no watermark"
    assert told == {"kind": "generated picture", "settings": settings, "watermark": watermark}
    again = typed(settings, world)
    assert run("generate", "--prompt", settings["prompt"], *again, "--output", "two.png").exit_code == 0
    assert Image.open("one.png").tobytes() == Image.open("two.png").tobytes()
    assert sorted(p.name for p in tmp_path.iterdir()) == ["one.png", "two.png"]  # no temporary file stays


def test_settings_name_local_models_without_their_folders(run, two, world, tmp_path):
    shutil.copytree(world / "weights", tmp_path / "secret" / "mine")
    model = tmp_path / "secret" / "mine"
    file = model / "relation_loras" / "hug" / "pytorch_lora_weights.safetensors"
    result = generate(run, *two, "--model", model, "--adapter", model / "relation_adapter", "--lora", f"{file}:0.5")
    assert result.exit_code == 0, result.output
    settings = read_png_settings("relationbooth.png")
    assert "secret" not in json.dumps(settings)
    assert (settings["model"], settings["adapter"]) == ("mine", "relation_adapter")
    assert settings["lora"] == [["pytorch_lora_weights.safetensors", 0.5]]


def test_several_pictures_are_those_of_the_following_seeds(run, two, tmp_path):
    result = generate(run, *two, "--seed", 5, "--count", 3, "--output", "a.png", "--sheet", "sheet.png")
    assert result.exit_code == 0, result.output
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.png", "a_1.png", "a_2.png", "sheet.png"]
    assert [line for line in result.output.splitlines() if "(seed" in line] == [
        "a.png (seed 5)", "a_1.png (seed 6)", "a_2.png (seed 7)",
    ]  # fmt: skip
    for seed, name in ((5, "a.png"), (6, "a_1.png"), (7, "a_2.png")):
        assert read_png_settings(name)["seed"] == seed
        generate(run, *two, "--seed", seed, "--output", "single.png")
        assert Image.open(name).tobytes() == Image.open("single.png").tobytes(), name
    generate(run, *two, "--seed", 5, "--output", "single.png", "--sheet", "narrow.png")
    assert Image.open("sheet.png").width == Image.open("narrow.png").width + 2 * (512 + 24)


def test_pictures_drawn_before_a_fault_stay(run, tmp_path, monkeypatch):
    save = drawing.save

    def fails_at_the_second(generation, picture, path, index):
        return save(generation, picture, path, index) if index == 0 else 1 / 0

    monkeypatch.setattr(drawing, "save", fails_at_the_second)
    assert generate(run, "--count", 2, "--output", "a.png").exit_code == 1
    assert [p.name for p in tmp_path.iterdir()] == ["a.png"]


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


def test_local_tokens_are_left_out_by_a_flag(run, two, world):
    adapter = world / "weights" / "relation_adapter"
    seeded = [*two, "--seed", 1]
    generate(run, *seeded, "--adapter", adapter, "--local-image-encoder", "none", "--output", "without.png")
    assert generate(run, *seeded, "--no-local-tokens").exit_code == 0
    assert Image.open("relationbooth.png").tobytes() == Image.open("without.png").tobytes()
    assert read_png_settings("relationbooth.png")["local_tokens"] is False


def test_a_painted_mask_acts_in_place_of_its_box(run, two):
    boxes = [*two, "--seed", 3, "--box", "0,0,0.5,1", "--box", "0.5,0,1,1"]
    generate(run, *boxes, "--output", "boxes.png")
    painted = Image.new("L", (64, 64))
    painted.paste(255, (0, 0, 32, 64))
    painted.save("left.png")
    result = generate(run, *boxes, "--mask", "left.png", "--mask", "none")
    assert result.exit_code == 0, result.output
    assert Image.open("relationbooth.png").tobytes() == Image.open("boxes.png").tobytes()  # the same place
    digest = hashlib.sha256(Path("left.png").read_bytes()).hexdigest()
    assert read_png_settings("relationbooth.png")["mask"] == [{"name": "left.png", "sha256": digest}, None]
    painted.transpose(Image.Transpose.FLIP_LEFT_RIGHT).save("right.png")
    generate(run, *boxes, "--mask", "right.png", "--mask", "none")
    assert Image.open("relationbooth.png").tobytes() != Image.open("boxes.png").tobytes()
    refused = generate(run, *boxes, "--mask", "left.png")
    assert refused.exit_code == 1 and "`--mask` must have one entry per `--image`, got 1 for 2" in refused.output


def test_automatic_layout_finds_the_places_itself(run, two):
    generate(run, *two, "--seed", 3, "--output", "side_by_side.png")
    assert generate(run, *two, "--seed", 3, "--automatic-layout").exit_code == 0
    assert read_png_settings("relationbooth.png")["automatic_layout"] is True
    assert Image.open("relationbooth.png").tobytes() != Image.open("side_by_side.png").tobytes()
    refused = generate(run, *two, "--box", LEFT, "--box", RIGHT, "--automatic-layout")
    assert refused.exit_code == 1 and "`--automatic-layout` finds the places itself" in refused.output


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
    assert json.loads(run("info", "sheet.png").output)["kind"] == "sheet"


def test_unknown_words_are_named_not_refused(run, two):
    result = generate(run, *two, prompt="a zebra is hugging a bear on the beach")
    assert result.exit_code == 0, result.output
    warning = result.output.partition("never saw these words and cannot draw them: ")[2].splitlines()[0]
    assert "zebra" in warning and "hugging" not in warning


def test_a_phrase_that_the_prompt_does_not_hold_is_named(run, two):
    result = generate(run, *two, prompt="a Cat is hugging plushie bears")
    assert result.exit_code == 0, result.output
    assert "Warning: the prompt does not hold 'plushie bear'" in result.output
    assert "does not hold" not in generate(run, *two, prompt="The CAT's friend, a plushie bear; hugging").output


@pytest.mark.parametrize(
    "size, objects, warnings",
    [
        ([], 2, []),
        (["--height", 64, "--width", 64], 1, []),
        (["--width", 80], 2, ["knows 64 × 64 pixels only: 80 × 64 lies"]),
        (["--height", 48], 3, ["knows 64 × 64 pixels only: 64 × 48 lies", "knows one or two objects only: 3 lie"]),
    ],
)
def test_the_miniature_says_what_lies_outside_its_training(run, world, size, objects, warnings):
    references = [part for _ in range(objects) for part in ("--image", world / "0.png", "--phrase", "cat")]
    result = generate(run, *references, *size)
    assert result.exit_code == 0, result.output
    told = [line for line in result.output.splitlines() if "the miniature knows" in line]
    assert len(told) == len(warnings) and all(text in line for text, line in zip(warnings, told)), told


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
