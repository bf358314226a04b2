"""Loading what the command names: offloading, and where it is refused."""

from dataclasses import replace

import pytest
import torch

from relationbooth_pipeline.generation.settings import GenerationSettings
from relationbooth_pipeline.generation.sources import load_pipeline, resolve_sources
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
