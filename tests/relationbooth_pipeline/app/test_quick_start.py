"""What the start leaves out, it leaves out for its own time alone."""

import gc
import inspect
import sys
import types

import gradio as gr
import pytest

from relationbooth_pipeline.app.quick_start import uncollected, without_stubs
from relationbooth_pipeline.app.server import QUEUE_PAUSE


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
