"""What the start leaves out, it leaves out for its own time alone."""

import gc
import inspect
import subprocess
import sys
import types

import gradio as gr
import pytest

from relationbooth_pipeline import miniature
from relationbooth_pipeline.app.quick_start import uncollected, without_stubs
from relationbooth_pipeline.app.server import QUEUE_PAUSE
from relationbooth_pipeline.app.studio import Studio
from relationbooth_pipeline.commands.demo import relations
from relationbooth_pipeline.relation_files import LORA_WEIGHT_NAME
from relationbooth_pipeline.relation_regions import read_relation_metadata


def test_collection_pauses_and_goes_on_after_a_fault_too():
    with pytest.raises(KeyError), uncollected():
        assert not gc.isenabled()
        raise KeyError
    assert gc.isenabled() and gc.get_freeze_count() > 0
    gc.unfreeze()


def test_component_classes_get_no_stub_and_other_classes_keep_their_files(tmp_path, monkeypatch):
    file = tmp_path / "made.py"
    file.write_text("import gradio\n\nclass Made(gradio.HTML):\n    pass\n", encoding="utf-8")

    def make():
        module = types.ModuleType("gradio.made")
        module.__file__ = str(file)
        monkeypatch.setitem(sys.modules, "gradio.made", module)
        exec(compile(file.read_text(encoding="utf-8"), file, "exec"), module.__dict__)
        return module.Made

    with without_stubs():
        assert issubclass(make(), gr.HTML)
        assert inspect.getfile(pytest.Item).endswith(".py")
    assert not file.with_suffix(".pyi").exists()
    make()  # as Gradio does: should it stop, `without_stubs` can go
    assert file.with_suffix(".pyi").exists()


def test_the_waiting_queue_costs_little(studio, tmp_path):
    from relationbooth_pipeline.app.server import build

    app = build(studio, tmp_path)
    assert app._queue.sleep_when_free == QUEUE_PAUSE >= 0.01


def test_what_a_page_shows_first_is_known_before_torch_is_imported():
    """A visitor would wait for its seconds; gradio, which the page itself needs, does without it."""
    text = """
import sys
from relationbooth_pipeline.app.studio import Studio
from relationbooth_pipeline.commands.demo import relations
studio = Studio()
studio._describe()
print(len(studio.offers), len(studio.examples), *{"torch", "diffusers", "transformers"} & set(sys.modules))
"""
    told = subprocess.run([sys.executable, "-c", text], capture_output=True, text=True, check=True)
    assert told.stdout.split() == [str(len(relations())), "2"]


def test_the_headers_that_came_with_the_package_are_read_as_all_are():
    studio = Studio()
    studio._describe()
    for name, offer in studio.offers.items():
        header = read_relation_metadata(miniature.path() / "relation_loras" / name / LORA_WEIGHT_NAME)
        assert (offer.weight, offer.template, offer.layout) == (header.scale, header.template, header.layout_prior)
