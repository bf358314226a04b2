"""Sheets of any number of objects, and pictures that keep their settings."""

import pytest
from PIL import Image

from relationbooth_pipeline.relation_layouts import side_by_side
from relationbooth_pipeline.sheets.contact import contact_sheet
from relationbooth_pipeline.sheets.png_settings import read_png_settings, save_png
from tests.tiny import photo


@pytest.mark.parametrize("count", [0, 1, 3, 8])
def test_sheet_of_any_number_of_objects(count):
    phrases = [f"a very long phrase that must be shortened {i}" for i in range(count)]
    result = photo(9, (96, 64))
    sheet = contact_sheet(
        [photo(i) for i in range(count)], phrases, side_by_side(count), {"result": result}, "word " * 60, "a note"
    )
    assert sheet.height > 512 and sheet.width > 768


def test_png_is_whole_or_absent(tmp_path, monkeypatch):
    target = tmp_path / "one.png"
    save_png(photo(), target, {"prompt": "Bär 熊"})
    assert read_png_settings(target) == {"prompt": "Bär 熊"}
    before = target.read_bytes()
    monkeypatch.setattr(Image.Image, "save", lambda *args, **kwargs: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        save_png(photo(), target, {})
    assert target.read_bytes() == before and [p.name for p in tmp_path.iterdir()] == ["one.png"]
