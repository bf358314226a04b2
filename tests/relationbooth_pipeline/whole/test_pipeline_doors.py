"""One pipeline, several doors: pip, folder, a saved pipeline."""

import json
import shutil
import sys
from pathlib import Path

import pytest
import torch
from diffusers import (
    AutoPipelineForImage2Image,
    AutoPipelineForText2Image,
    DiffusionPipeline,
    StableDiffusionXLImg2ImgPipeline,
    StableDiffusionXLPipeline,
)
from diffusers.utils import logging

import relationbooth_pipeline
from relationbooth_pipeline import RelationBoothPipeline
from tests.relationbooth_pipeline.whole.test_pipeline_call import TWO, generate
from tests.tiny import tiny_components, tiny_pipeline, tiny_vision

FOLDER = relationbooth_pipeline.__path__[0]


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    """A plain SDXL checkpoint, a saved adapter, and the picture they give together."""
    folder = tmp_path_factory.mktemp("base")
    StableDiffusionXLPipeline(**tiny_components()).save_pretrained(folder / "sdxl")
    pipe = tiny_pipeline()
    pipe.save_relation_adapter(folder / "adapter")
    return folder / "sdxl", folder / "adapter", generate(pipe, **TWO)


def picture(pipe, adapter=None):
    pipe.set_progress_bar_config(disable=True)
    if adapter is not None:
        pipe.load_relation_adapter(adapter)
    return generate(pipe, **TWO)


def test_pip_door(base):
    sdxl, adapter, expected = base
    assert torch.equal(picture(RelationBoothPipeline.from_pretrained(sdxl), adapter), expected)


@pytest.fixture
def fresh_modules(tmp_path, monkeypatch):
    """Custom code is copied to a cache of its own, so that no earlier copy is reused."""
    from diffusers.utils import dynamic_modules_utils

    monkeypatch.setattr(dynamic_modules_utils, "HF_MODULES_CACHE", str(tmp_path / "modules"))
    kept = {name: module for name, module in sys.modules.items() if name.startswith("diffusers_modules")}
    for name in kept:
        monkeypatch.delitem(sys.modules, name)
    yield
    for name in [name for name in sys.modules if name.startswith("diffusers_modules")]:
        del sys.modules[name]


def test_folder_door(base, fresh_modules):
    sdxl, adapter, expected = base
    pipe = DiffusionPipeline.from_pretrained(sdxl, custom_pipeline=FOLDER, trust_remote_code=True)
    assert type(pipe).__name__ == "RelationBoothPipeline" and not isinstance(pipe, RelationBoothPipeline)
    assert isinstance(pipe, StableDiffusionXLPipeline)
    assert torch.equal(picture(pipe, adapter), expected)


def test_folder_door_needs_consent(base, fresh_modules):
    with pytest.raises(ValueError, match="trust_remote_code"):
        DiffusionPipeline.from_pretrained(base[0], custom_pipeline=FOLDER)


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    tiny_pipeline().save_pretrained(folder := tmp_path_factory.mktemp("saved"))
    return folder


def test_a_saved_pipeline_loads_through_the_pip_door(base, saved, warnings_of_diffusers):
    assert torch.equal(picture(RelationBoothPipeline.from_pretrained(saved)), base[2])
    assert not warnings_of_diffusers.messages


@pytest.mark.parametrize(
    "door, expected",
    [
        (DiffusionPipeline, StableDiffusionXLPipeline),
        (StableDiffusionXLPipeline, StableDiffusionXLPipeline),
        (StableDiffusionXLImg2ImgPipeline, StableDiffusionXLImg2ImgPipeline),
        (AutoPipelineForText2Image, StableDiffusionXLPipeline),
        (AutoPipelineForImage2Image, StableDiffusionXLImg2ImgPipeline),
    ],
)
def test_to_stock_doors_a_saved_pipeline_is_sdxl_and_they_say_what_to_call(
    door, expected, saved, warnings_of_diffusers
):
    pipe = door.from_pretrained(saved)
    assert type(pipe) is expected
    assert "relationbooth_pipeline.RelationBoothPipeline.from_pretrained" in warnings_of_diffusers.text
    if expected is StableDiffusionXLPipeline:
        pipe.set_progress_bar_config(disable=True)
        assert torch.equal(generate(pipe), generate(tiny_pipeline(adapter=False)))


@pytest.fixture
def warnings_of_diffusers(caplog):
    logger = logging.get_logger("diffusers")
    logger.addHandler(caplog.handler)
    yield caplog
    logger.removeHandler(caplog.handler)


def test_a_saved_pipeline_is_saved_again_as_it_was(saved, tmp_path):
    RelationBoothPipeline.from_pretrained(saved).save_pretrained(tmp_path)
    indexes = [json.loads((folder / "model_index.json").read_text(encoding="utf-8")) for folder in (saved, tmp_path)]
    for index in indexes:
        index.pop("_name_or_path", None)
    assert indexes[0] == indexes[1]


def test_a_copied_class_is_saved_for_its_own_door(base, tmp_path, fresh_modules):
    sdxl, adapter, expected = base
    pipe = DiffusionPipeline.from_pretrained(sdxl, custom_pipeline=FOLDER, trust_remote_code=True)
    pipe.load_relation_adapter(adapter)
    pipe.save_pretrained(tmp_path / "saved")
    again = DiffusionPipeline.from_pretrained(tmp_path / "saved", custom_pipeline=FOLDER, trust_remote_code=True)
    assert torch.equal(picture(again), expected)


@pytest.fixture(scope="module")
def beside(base, tmp_path_factory):
    """A plain SDXL folder with an adapter beside its components, as the miniature's is."""
    folder = tmp_path_factory.mktemp("beside") / "model"
    shutil.copytree(base[0], folder)
    shutil.copytree(base[1], folder / "relation_adapter")
    return folder


def test_an_adapter_beside_the_components_comes_along(base, beside):
    assert torch.equal(picture(RelationBoothPipeline.from_pretrained(beside)), base[2])
    half = RelationBoothPipeline.from_pretrained(beside, dtype=torch.float16)
    assert half.relation_adapter.dtype == half.image_prompt_encoder.dtype == torch.float16
    assert type(DiffusionPipeline.from_pretrained(beside)) is StableDiffusionXLPipeline


def test_an_adapter_beside_the_components_is_declined_by_name(beside):
    pipe = RelationBoothPipeline.from_pretrained(beside, relation_adapter=None)
    assert pipe.relation_adapter is None and pipe.image_prompt_encoder is None
    encoder = tiny_vision(seed=9)
    pipe = RelationBoothPipeline.from_pretrained(beside, image_prompt_encoder=encoder, local_image_encoder=None)
    assert pipe.image_prompt_encoder is encoder and pipe.local_image_encoder is None
    assert pipe.relation_adapter is not None


def test_only_one_pipeline_class_is_visible():
    from diffusers import DiffusionPipeline as base_class

    module = sys.modules["relationbooth_pipeline.pipeline"]
    own = [v for v in vars(module).values() if isinstance(v, type) and issubclass(v, base_class)]
    assert [c.__name__ for c in own if not c.__module__.startswith("diffusers")] == ["RelationBoothPipeline"]


def test_every_component_is_annotated():
    """`from_pipe` drops components whose parameter has no type."""
    import inspect

    parameters = inspect.signature(RelationBoothPipeline.__init__).parameters
    assert all(p.annotation is not p.empty for name, p in parameters.items() if name != "self")


def test_the_core_needs_no_extra():
    """The package imports where nothing beyond the core requirements is installed."""
    import subprocess

    code = (
        "import sys\n"
        "extras = ('typer', 'rich', 'torchvision', 'open_clip', 'skia', 'datasets', 'pytest', 'gradio')\n"
        "sys.modules.update(dict.fromkeys(extras))  # None: importing it raises ImportError\n"
        "import relationbooth_pipeline"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=Path(FOLDER).parent)
