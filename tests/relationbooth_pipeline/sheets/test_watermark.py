"""SDXL's invisible watermark, read back from pictures that diffusers marked."""

import pytest
import torch

from relationbooth_pipeline.sheets import watermark
from relationbooth_pipeline.sheets.watermark import watermark_told
from tests.tiny import photo


@pytest.fixture
def picture():
    return photo(3).resize((256, 256)).point(lambda value: 100 + value // 8)  # the mark drowns in strong contrast


def test_a_missing_package_is_named(picture, monkeypatch):
    monkeypatch.setattr(watermark, "PACKAGE", "no_such_package")
    assert watermark_told(picture) == "not looked for: pip install 'relationbooth[watermark]'"


def test_small_pictures_have_none():
    assert watermark_told(photo(3, size=(128, 256))) == "none: pictures below 256 pixels get no watermark"


def test_the_mark_of_diffusers_is_found_and_others_are_not(picture):
    pytest.importorskip("imwatermark")
    import numpy as np
    from diffusers.pipelines.stable_diffusion_xl.watermark import StableDiffusionXLWatermarker
    from PIL import Image

    pixels = torch.from_numpy(np.array(picture)).permute(2, 0, 1)[None] / 127.5 - 1
    marked = StableDiffusionXLWatermarker().apply_watermark(pixels)[0]
    carrier = Image.fromarray(((marked.permute(1, 2, 0) + 1) * 127.5).round().byte().numpy())
    assert watermark_told(carrier).startswith("found (")
    assert watermark_told(picture).startswith("not found")
