"""One pipeline, several doors: pip, folder, a saved pipeline."""

import sys
from pathlib import Path

import pytest
import torch
from diffusers import DiffusionPipeline, StableDiffusionXLPipeline

import relationbooth_pipeline
from relationbooth_pipeline import RelationBoothPipeline
from tests.relationbooth_pipeline.whole.test_pipeline_call import TWO, generate
from tests.tiny import tiny_components, tiny_pipeline

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


def test_a_saved_pipeline_loads_through_the_pip_door(base, tmp_path):
    pipe = tiny_pipeline()
    pipe.save_pretrained(tmp_path)
    assert torch.equal(picture(RelationBoothPipeline.from_pretrained(tmp_path)), base[2])


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
