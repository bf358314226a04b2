"""Stand-ins for all that the pages' code takes from elsewhere: tiny repositories, photos, and short drawings."""

import functools
import inspect
import sys
from dataclasses import fields
from types import SimpleNamespace

import diffusers
import huggingface_hub
import numpy as np
import pytest
import torch
from diffusers import ControlNetModel, DiffusionPipeline, StableDiffusionXLPipeline
from diffusers.utils import dynamic_modules_utils
from safetensors.torch import load_file, save_file

from hub_cards.publish import export
from relationbooth_pipeline import LocalImageEncoder
from relationbooth_pipeline.generation.settings import GenerationSettings
from tests.relationbooth_pipeline.commands.tiny_world import HUG, JUMP, write_lora
from tests.relationbooth_pipeline.test_relation_loaders import released_form
from tests.relationbooth_pipeline.whole.test_released_files import RESAMPLER
from tests.single_file import single_file_components, single_file_state
from tests.tiny import photo, tiny_adapter, tiny_pipeline, tiny_vision

STEPS = 4  # instead of fifty: the blocks show the call, not the picture
PIPELINES = ("", "Img2Img", "Inpaint", "ControlNet", "PAG")


@pytest.fixture(scope="session")
def repositories(tmp_path_factory) -> dict[str, str]:
    """What a page calls a model, repository, file or device → what stands in for it here."""
    folder = tmp_path_factory.mktemp("hub")
    components = single_file_components()
    StableDiffusionXLPipeline(**components).save_pretrained(folder / "base")
    pipe = tiny_pipeline(**components)
    save_file(single_file_state(pipe), folder / "model.safetensors")
    adapter = tiny_adapter(pipe.unet, resampler_config=RESAMPLER, image_prompt_size=512)
    (folder / "released").mkdir()
    torch.save(released_form(adapter, pipe.unet), folder / "released" / "ms_adapter.bin")
    tiny_vision().save_pretrained(folder / "clip")
    tiny_vision(LocalImageEncoder).save_pretrained(folder / "local")
    torch.manual_seed(0)
    ControlNetModel.from_unet(pipe.unet, conditioning_embedding_out_channels=(8, 8, 8, 8)).save_pretrained(
        folder / "controlnet"
    )
    write_lora(pipe.unet, folder / "loras" / "riding_horse", JUMP)
    export(pipe, folder / "sdxl", relation_loras=folder / "loras")
    hug = write_lora(pipe.unet, folder / "hug", HUG)
    (folder / "watercolour").mkdir()
    save_file(load_file(hug), folder / "watercolour" / hug.name)  # without our header: a style
    names = {
        "stabilityai/stable-diffusion-xl-base-1.0": "base",
        "model.safetensors": "model.safetensors",
        "doge1516/MS-Diffusion": "released",
        "laion/CLIP-ViT-bigG-14-laion2B-39B-b160k": "clip",
        "diffusers/controlnet-openpose-sdxl-1.0": "controlnet",
        "<org>/relationbooth-sdxl": "sdxl",
        "<org>/relationbooth-miniature": "sdxl",
        "<org>/relationlora-hug": "hug",
        "<org>/watercolour": "watercolour",
    }
    return {name: str(folder / file) for name, file in names.items()} | {"cuda": "cpu"}


class PageClient:
    """Gradio's client of a page that only looks at what it is asked; `app/test_interface.py` asks a real one."""

    def __init__(self, address: str):
        assert address == "http://127.0.0.1:7860"

    def predict(self, pictures: list[str], settings: dict, api_name: str) -> tuple[str, dict]:
        assert api_name == "/draw" and settings.keys() <= {field.name for field in fields(GenerationSettings)}
        return "picture.png", settings


@pytest.fixture
def newcomer(tmp_path, monkeypatch) -> dict:
    """An empty folder with two photos, drawings of few steps; and the names that the pages use without making them."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(dynamic_modules_utils, "HF_MODULES_CACHE", str(tmp_path / "modules"))
    monkeypatch.setattr(huggingface_hub, "snapshot_download", lambda folder: folder)
    monkeypatch.setitem(sys.modules, "gradio_client", SimpleNamespace(Client=PageClient, handle_file=str))
    for name in ("enable_model_cpu_offload", "enable_sequential_cpu_offload"):
        monkeypatch.setattr(DiffusionPipeline, name, lambda self: None)  # they refuse a machine without a GPU
    for name in PIPELINES:
        _shorten(getattr(diffusers, f"StableDiffusionXL{name}Pipeline"), monkeypatch)
    pipe, left = tiny_pipeline(**single_file_components()), np.zeros((64, 64), dtype=bool)
    left[:, :32] = True
    cat, bear = photo(0), photo(1)
    cat.save("cat.jpg"), bear.save("bear.jpg")
    states = {"text_embeds": torch.zeros(2, pipe.text_encoder_2.config.projection_dim), "time_ids": torch.zeros(2, 6)}
    text = {"encoder_hidden_states": torch.randn(2, 77, pipe.unet.config.cross_attention_dim)}
    return {
        "pipe": pipe,
        "cat": cat,
        "bear": bear,
        "cat_mask": left,
        "bear_mask": ~left,
        "picture": photo(2, (64, 64)),
        "pose": photo(3, (64, 64)),
        "mask": photo(4, (64, 64)).convert("L"),
        "latents": torch.zeros(2, 4, 8, 8),
        "timestep": 1,
        "text": {**text, "added_cond_kwargs": states},
    }


def _shorten(pipeline: type, monkeypatch) -> None:
    call = pipeline.__call__

    @functools.wraps(call)
    def short(self, *args, **kwargs):
        given = inspect.signature(call).bind(self, *args, **kwargs)
        given.apply_defaults()
        given.arguments["num_inference_steps"] = STEPS
        return call(*given.args, **given.kwargs)

    monkeypatch.setattr(pipeline, "__call__", short)
