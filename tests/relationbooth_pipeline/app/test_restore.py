"""A written picture given back to a page that has changed since: what is another now is told."""

import shutil
from dataclasses import replace

from PIL import Image

from relationbooth_pipeline import miniature
from relationbooth_pipeline.relation_files import LORA_WEIGHT_NAME
from relationbooth_pipeline.sheets.png_settings import save_png

from .test_form import form, last


def test_what_the_page_runs_otherwise_is_told(actions, monkeypatch):
    kept = last(actions.draw(form(actions, loras=["none"] * 3), []))["history"][0]
    assert actions.restore(kept["path"])[1] == ""
    own = {**actions.studio.own_names, "adapter": "my-adapter", "dtype": "float16"}
    monkeypatch.setattr(actions.studio, "own_names", own)
    _, lost = actions.restore(kept["path"])
    assert lost == "Missing: the adapter None (this page runs my-adapter); the dtype auto (this page runs float16)."


def test_a_lora_that_changed_under_its_name_is_told(actions, tmp_path, monkeypatch):
    kept = last(actions.draw(form(actions), []))["history"][0]
    assert [name for name, _ in kept["settings"]["lora"]] == ["shaking_hands"] and actions.restore(kept["path"])[
        1
    ] == ""
    other = tmp_path / "shaking_hands"
    other.mkdir()
    shutil.copy(miniature.path() / "relation_loras" / "jumping" / LORA_WEIGHT_NAME, other)
    monkeypatch.setitem(
        actions.studio.offers, "shaking_hands", replace(actions.studio.offers["shaking_hands"], source=str(other))
    )
    back, lost = actions.restore(kept["path"])
    assert (
        "shaking_hands" in back.loras
        and lost == "Missing: the LoRA shaking_hands as it was (another file has its name here)."
    )


def test_a_lora_called_none_is_no_lora_of_the_page(actions, tmp_path):
    kept = last(actions.draw(form(actions), []))["history"][0]
    told = {**kept["settings"], "lora": [["none", 1.0]], "lora_sha256": ["0" * 64]}
    save_png(Image.open(kept["path"]), tmp_path / "theirs.png", told)
    assert actions.restore(str(tmp_path / "theirs.png"))[1] == "Missing: the LoRA none (start the page with it)."
