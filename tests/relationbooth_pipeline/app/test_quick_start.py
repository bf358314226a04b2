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


def test_what_a_page_shows_first_is_known_before_torch_is_imported(tmp_path):
    """Seconds: the page is there while the libraries load, which a check of the options would wait for."""
    text = """
import sys
from pathlib import Path
from relationbooth_pipeline.app.actions import Actions
from relationbooth_pipeline.app.results import Results
from relationbooth_pipeline.app.studio import Studio
studio = Studio()
studio._describe()
form = Actions(studio, Results(studio, Path(sys.argv[1]))).first_form()
print(form.prompt, len(studio.offers), *sorted({"torch", "diffusers", "transformers"} & set(sys.modules)))
"""
    told = subprocess.run([sys.executable, "-c", text, str(tmp_path)], capture_output=True, text=True, check=True)
    assert told.stdout.split() == [*"a cat is shaking hands with a bear in a meadow".split(), "6"]


def test_the_headers_that_came_with_the_package_are_read_as_all_are():
    studio = Studio()
    studio._describe()
    for name, offer in studio.offers.items():
        header = read_relation_metadata(miniature.path() / "relation_loras" / name / LORA_WEIGHT_NAME)
        assert (offer.weight, offer.template, offer.layout) == (header.scale, header.template, header.layout_prior)
