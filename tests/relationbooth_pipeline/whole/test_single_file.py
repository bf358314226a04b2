"""One-file SDXL checkpoints with the original names, as the trainers of other tools write them."""

import numpy as np
import pytest
import torch
from diffusers import StableDiffusionXLPipeline
from PIL import Image
from safetensors.torch import save_file
from typer.testing import CliRunner

from relationbooth_pipeline import RelationBoothPipeline
from relationbooth_pipeline.commands.main import app
from tests.relationbooth_pipeline.whole.test_pipeline_call import TWO, generate
from tests.single_file import single_file_components, single_file_state
from tests.tiny import photo, tiny_pipeline


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    """A folder with a checkpoint as `one.safetensors`, the same as `sdxl/`, an `adapter/` and a photo; the pipeline."""
    folder = tmp_path_factory.mktemp("single")
    components = single_file_components()
    StableDiffusionXLPipeline(**components).save_pretrained(folder / "sdxl")
    pipe = tiny_pipeline(**components)
    pipe.save_relation_adapter(folder / "adapter")
    save_file(single_file_state(pipe), folder / "one.safetensors")
    photo(0).save(folder / "cat.png")
    return folder, pipe


def test_single_file_door(base):
    folder, expected = base
    pipe = RelationBoothPipeline.from_single_file(
        str(folder / "one.safetensors"), config=str(folder / "sdxl"), local_files_only=True
    )
    for name in ("unet", "vae", "text_encoder", "text_encoder_2"):
        weights, found = getattr(expected, name).state_dict(), getattr(pipe, name).state_dict()
        assert weights.keys() == found.keys()
        for key, value in weights.items():
            assert torch.equal(found[key], value), f"{name}: {key}"
    pipe.set_progress_bar_config(disable=True)
    pipe.load_relation_adapter(folder / "adapter")
    assert torch.equal(generate(pipe, **TWO), generate(expected, **TWO))


def command(folder, model, output):
    arguments = ["generate", "--prompt", "a cat", "--model", folder / model, "--adapter", folder / "adapter"]
    arguments += ["--image", folder / "cat.png", "--phrase", "cat", "--steps", 2, "--seed", 1, "--output", output]
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def test_the_command_draws_the_same_from_one_file(base, tmp_path, monkeypatch):
    folder, _ = base
    # diffusers takes the configs from SDXL base's repository on the Hub; the toy's stand in for them.
    monkeypatch.setattr(
        "diffusers.loaders.single_file.fetch_diffusers_config",
        lambda checkpoint: {"pretrained_model_name_or_path": str(folder / "sdxl")},
    )
    for model, output in (("one.safetensors", "file.png"), ("sdxl", "folder.png")):
        result = command(folder, model, tmp_path / output)
        assert result.exit_code == 0, result.output
    file, made = (np.asarray(Image.open(tmp_path / name), dtype=int) for name in ("file.png", "folder.png"))
    assert np.abs(file - made).max() <= 1  # another memory layout of the same weights, another rounding (torch 2.6)


@pytest.mark.parametrize("fault, message", [("a LoRA", "no whole SDXL checkpoint"), ("cut", "no intact safetensors")])
def test_the_command_refuses_other_files_before_models_load(base, tmp_path, monkeypatch, fault, message):
    folder, _ = base
    monkeypatch.setattr("relationbooth_pipeline.generation.drawing.load_pipeline", lambda *args, **kwargs: 1 / 0)
    model = tmp_path / "other.safetensors"
    save_file({"unet.conv_in.lora_A.weight": torch.zeros(2, 4)}, model)
    if fault == "cut":
        model.write_bytes(model.read_bytes()[:-8])
    result = command(folder, model, tmp_path / "one.png")
    assert result.exit_code == 1 and message in result.output, result.output
    assert "Traceback" not in result.output and not (tmp_path / "one.png").exists()
