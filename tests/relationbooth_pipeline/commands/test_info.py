"""`relationbooth info` on tiny files."""

import json
import shutil

import pytest
import torch
from PIL import PngImagePlugin
from safetensors.torch import save_file

from relationbooth_pipeline.relation_attention import cross_attention_layers
from relationbooth_pipeline.sheets.png_settings import SETTINGS_KEY
from tests.relationbooth_pipeline.commands.tiny_world import generate
from tests.tiny import photo, tiny_pipeline


def told(run, path):
    result = run("info", path)
    assert result.exit_code == 0, result.output
    return json.loads(result.output)


def test_info_tells_adapters_loras_and_pipelines(run, world):
    weights = world / "weights"
    adapter = told(run, weights / "relation_adapter")
    assert adapter["kind"] == "relation adapter" and adapter["tokens_per_object"] == 4
    assert adapter["brings"] == ["image_encoder", "local_image_encoder"]
    lora = told(run, weights / "relation_loras" / "hug")
    layers = len(cross_attention_layers(tiny_pipeline(adapter=False).unet))
    assert lora["kind"] == "RelationLoRA" and lora["rank"] == [2] and lora["layers"] == 4 * layers
    assert lora["relation"]["predicate"] == "is hugging"
    pipeline = told(run, weights)
    assert pipeline["components"]["unet"] == "UNet2DConditionModel" and pipeline["relation_loras"] == ["hug", "jump"]
    encoder = told(run, weights / "relation_adapter" / "local_image_encoder")
    assert encoder["kind"] == "local image encoder"
    assert told(run, weights / "unet")["class"] == "UNet2DConditionModel"


def test_info_tells_folders_of_loras(run, world, tmp_path):
    loras = world / "weights" / "relation_loras"
    files = told(run, loras)["files"]
    assert {name: file["relation"]["relation"] for name, file in files.items()} == {
        "hug/pytorch_lora_weights.safetensors": "hug",
        "jump/pytorch_lora_weights.safetensors": "jump",
    }
    for name in ("hug", "jump"):
        shutil.copy(loras / name / "pytorch_lora_weights.safetensors", tmp_path / f"{name}.safetensors")
    assert {file["kind"] for file in told(run, tmp_path)["files"].values()} == {"RelationLoRA"}
    (tmp_path / "jump.safetensors").unlink()
    assert told(run, tmp_path)["relation"]["relation"] == "hug"  # one file under any name


def test_info_tells_triplets(run, tmp_path):
    photo(0).save("target.png")
    photo(1).save("cat.png")
    points = [[0.5, 0.5, 1]] * 17
    line = {
        "file_name": "target.png",
        "image_prompts": ["cat.png", "cat.png"],
        "prompt": "a cat is hugging a bear",
        "phrases": ["cat", "bear"],
        "predicate": "is hugging",
        "boxes": [[0, 0, 0.5, 1], [0.5, 0, 1, 1]],
        "keypoints": [points, points],
        "image_prompt_keypoints": [points, points],
    }
    (tmp_path / "metadata.jsonl").write_text(json.dumps(line) + "\n", encoding="utf-8")
    found = told(run, tmp_path)
    assert found["kind"] == "triplets" and found["triplets"] == 1 and found["objects"] == [2]
    assert found["predicates"] == {"is hugging": 1} and found["with_masks"] == 0 and found["layout"] == "ours"
    (tmp_path / "metadata.jsonl").write_text(json.dumps(line | {"boxes": []}) + "\n", encoding="utf-8")
    result = run("info", tmp_path)
    assert result.exit_code == 1 and "boxes" in result.output and "Traceback" not in result.output


def test_info_tells_sheets_from_pictures(run, two):
    generate(run, *two, "--output", "one.png", "--sheet", "sheet.png", "--count", 2)
    picture, sheet = told(run, "one.png"), told(run, "sheet.png")
    assert picture["kind"] == "generated picture" and sheet["kind"] == "sheet" and sheet["settings"]["pictures"] == 2
    assert sheet["settings"]["image"] == picture["settings"]["image"]


def test_info_tells_checkpoints_of_others(run):
    save_file({"conditioner.embedders.0.x": torch.zeros(1)}, "base.safetensors")
    assert told(run, "base.safetensors")["kind"] == "whole SDXL checkpoint (--model)"
    save_file({"weight": torch.zeros(1)}, "other.SAFETENSORS")
    assert told(run, "other.SAFETENSORS")["first_keys"] == ["weight"]


@pytest.mark.parametrize(
    "name, content, message",
    [
        ("photo.png", None, "carries no settings"),
        ("cut.safetensors", b"\x10", "no intact safetensors"),
        ("page.safetensors", b"<!DOCTYPE html>", "got a web page, not the file itself (download it again)"),
        ("lfs.bin", b"version https://git-lfs.github.com/spec/v1\noid", "got a Git LFS pointer"),
        ("photo.jpg", b"\xff\xd8\xff\xe0", "got a JPEG picture"),
        ("note.txt", b"x", "must be a folder"),
        ("absent", b"", "there is no"),
        ("https://a.org/x.png", b"", "`FILE` does not read URLs"),
    ],
)
def test_info_refuses_what_it_does_not_know(run, tmp_path, name, content, message):
    if content is None:
        photo().save(name)
    elif content:
        (tmp_path / name).write_bytes(content)
    result = run("info", name)
    assert result.exit_code == 1 and message in result.output, result.output


@pytest.mark.parametrize("text", ["[1]", "null", "5"])
def test_settings_that_are_no_object_are_told(run, text):
    chunks = PngImagePlugin.PngInfo()
    chunks.add_text(SETTINGS_KEY, text)
    photo().save("one.png", pnginfo=chunks)
    result = run("info", "one.png")
    message = "`one.png`: its `relationbooth` chunk must be a JSON object, got"
    assert result.exit_code == 1 and message in result.output, result.output


@pytest.mark.parametrize("change", [{}, {"resampler_config": {}}, {"resampler_config": [], "layer_widths": {}},
                                    {"resampler_config": {}, "layer_widths": {"a": [1]}}])  # fmt: skip
def test_an_adapter_without_its_configuration_is_told(run, tmp_path, change):
    config = {"_class_name": "RelationAdapter", **change}
    (tmp_path / "config.json").write_text(json.dumps(config), encoding="utf-8")
    result = run("info", tmp_path)
    message = "of a RelationAdapter must have `resampler_config`, an object, and `layer_widths`"
    assert result.exit_code == 1 and message in result.output, result.output


def test_info_of_an_empty_folder_says_what_was_looked_for(run, tmp_path):
    result = run("info", tmp_path)
    assert result.exit_code == 1 and "no config.json, model_index.json, metadata.jsonl" in result.output
