"""Loading what the command names: offloading, and where it is refused."""

from dataclasses import replace

import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file

from relationbooth_pipeline import relation_files
from relationbooth_pipeline.generation.drawing import prepare
from relationbooth_pipeline.generation.settings import GenerationSettings, sha256
from relationbooth_pipeline.generation.sources import load_loras, load_pipeline, resolve_sources
from tests.relationbooth_pipeline.commands.tiny_world import HUG, write_lora
from tests.relationbooth_pipeline.test_lora_files import hub_of
from tests.relationbooth_pipeline.whole.test_offloading import skip_if_stock_sdxl_fails
from tests.relationbooth_pipeline.whole.test_pipeline_call import TWO, generate
from tests.tiny import tiny_pipeline


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    """A tiny pipeline's folder, its adapter inside."""
    folder = tmp_path_factory.mktemp("model")
    pipe = tiny_pipeline()
    pipe.save_relation_adapter(folder / "relation_adapter")
    pipe.unload_relation_adapter()
    pipe.save_pretrained(folder)
    return folder


@pytest.mark.parametrize("mode", ["model", "sequential"])
def test_offloading_loads_the_same_pipeline(model, mode):
    """With the CPU as accelerator, which `resolve_sources` refuses to users: the hooks run all the same."""
    pytest.importorskip("accelerate")
    if mode == "sequential":
        skip_if_stock_sdxl_fails()
    settings = resolve_sources(GenerationSettings("a cat", model=str(model), device="cpu"))
    expected = generate(load_pipeline(settings, needs_adapter=True), **TWO)
    pipe = load_pipeline(replace(settings, offload=mode), needs_adapter=True)
    assert hasattr(pipe.relation_adapter, "_hf_hook") and hasattr(pipe.image_prompt_encoder, "_hf_hook")
    torch.testing.assert_close(generate(pipe, **TWO), expected)


@pytest.mark.parametrize("mode", ["model", "sequential"])
def test_offloading_needs_an_accelerator(model, monkeypatch, mode):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    with pytest.raises(
        ValueError, match=f"`--offload {mode}` moves models .* the device is the CPU. Leave `--offload`"
    ):
        resolve_sources(GenerationSettings("a cat", model=str(model), offload=mode))


def test_offloading_needs_accelerate(model, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(ValueError, match="pip install accelerate"):
        resolve_sources(GenerationSettings("a cat", model=str(model), offload="model"))


def test_a_lora_that_took_the_place_of_the_loaded_one_is_read(tmp_path):
    pipe = tiny_pipeline(adapter=False)
    write_lora(pipe.unet, tmp_path / "hug", HUG)
    (file,) = (tmp_path / "hug").glob("*.safetensors")

    def drawn():
        load_loras(pipe, [(str(file), 1.0)])
        return generate(pipe)

    first = drawn()
    assert torch.equal(drawn(), first)
    save_file({name: -tensor if "lora_B" in name else tensor for name, tensor in load_file(file).items()}, file)
    assert not torch.equal(drawn(), first)


def test_a_lora_of_the_hub_gets_the_weight_that_its_header_suggests(model, tmp_path, monkeypatch):
    """As a local one does; its file is fetched once, and pictures tell its content."""
    file = write_lora(tiny_pipeline(adapter=False).unet, tmp_path / "hug", HUG)
    repository = hub_of(tmp_path / "hug", monkeypatch)
    settings = GenerationSettings("a cat", model=str(model), lora=[(repository, None), (str(file), None)])
    generation = prepare(settings, settings.checked())
    assert settings.lora == [(repository, HUG.scale), (str(file), HUG.scale)] and HUG.scale != 1
    assert generation.record["lora"] == [[repository, HUG.scale], [file.name, HUG.scale]]
    assert generation.record["lora_sha256"] == [sha256(file)] * 2
    assert list(generation.pipe.relation_metadata.values()) == [HUG, HUG]
    monkeypatch.setattr(relation_files, "list_repo_files", lambda *args, **kwargs: 1 / 0)  # the network is gone
    prepare(settings, settings.checked(), generation.pipe)
    given = replace(settings, lora=[(repository, 1.0)])
    assert resolve_sources(given).lora == [(repository, 1.0)]


def test_a_box_beside_a_mask_is_drawn_at_the_picture_s_own_size(tmp_path):
    """So that the settings of the picture, which tell its size, give the same picture again."""
    Image.new("L", (64, 64), 255).save(tmp_path / "all.png")
    told = dict(image=["a", "b"], phrase=["cat", "bear"], box=[[0, 0.2, 0.5, 0.9], [0.43, 0.23, 0.97, 0.93]])
    settings = GenerationSettings("a cat is hugging a bear", mask=[str(tmp_path / "all.png"), None], **told, seed=1)
    settings.image = [str(tmp_path / "all.png")] * 2
    sizes = []
    for size in ({}, {"width": 128, "height": 128}):
        generation = prepare(replace(settings, **size), settings.checked())
        sizes.append(generation.masks[1].tobytes())
    assert sizes[0] == sizes[1] and generation.masks[1].size == (128, 128)
