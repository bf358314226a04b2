"""Masks as people have them: every form of one shape reads as that shape."""

import base64

import numpy as np
import pytest
import torch
from PIL import Image

from relationbooth_pipeline.generation.masks import DATA_URL, open_mask
from relationbooth_pipeline.relation_images import read_mask
from relationbooth_pipeline.relation_regions import masks_per_sample
from tests.tiny import photo

MASK = np.zeros((4, 6), dtype=bool)
MASK[1:3, :3] = True
BYTES = MASK.astype(np.uint8) * 255
GREY = np.where(MASK, 200, 90).astype(np.uint8)


def with_alpha(colors, alpha: np.ndarray) -> Image.Image:
    picture = Image.new("RGBA", (6, 4), colors) if isinstance(colors, str) else colors.convert("RGBA")
    picture.putalpha(Image.fromarray(alpha))
    return picture


def palette(colors: list[int], **info) -> Image.Image:
    picture = Image.fromarray(MASK.astype(np.uint8)).convert("P")
    picture.putpalette(colors)
    picture.info.update(info)
    return picture


FORMS = {
    "bool": MASK,
    "0 and 1": MASK.astype(np.uint8),
    "0 and 1, int64": MASK.astype(np.int64),
    "0 and 255": BYTES,
    "0 and 255, int64": BYTES.astype(np.int64),
    "0 and 65535": MASK.astype(np.uint16) * 65535,
    "float": MASK.astype(np.float32),
    "soft float": np.where(MASK, 0.6, 0.4),
    "float to 255": GREY.astype(np.float64),
    "grey array": GREY,
    "bool tensor": torch.from_numpy(MASK),
    "bfloat16 tensor": torch.from_numpy(MASK).bfloat16().requires_grad_(),
    "uint8 tensor": torch.from_numpy(BYTES),
    "black and white picture": Image.fromarray(MASK),
    "grey picture": Image.fromarray(GREY),
    "grey picture of 0 and 1": Image.fromarray(MASK.astype(np.uint8)),
    "16-bit picture": Image.fromarray(np.where(MASK, 40_000, 20_000).astype(np.uint16)),
    "RGB picture": Image.fromarray(BYTES).convert("RGB"),
    "palette": palette([0, 0, 0, 255, 255, 255]),
    "palette, white first": palette([20, 20, 20, 250, 240, 255]),
    "palette with a transparent colour": palette([255, 255, 255, 250, 250, 250], transparency=0),
    "white on transparent": with_alpha("white", BYTES),
    "black on transparent": with_alpha("black", BYTES),
    "cut-out": with_alpha(photo(1, (6, 4)), BYTES),
    "soft cut-out": with_alpha(photo(1, (6, 4)), GREY),
    "white on opaque black": with_alpha(Image.fromarray(BYTES), np.full_like(BYTES, 255)),
    "white on black, both nearly opaque": with_alpha(Image.fromarray(BYTES), np.where(MASK, 250, 255).astype(np.uint8)),
    "grey and alpha": with_alpha("white", BYTES).convert("LA"),
    "grey, opaque": with_alpha(Image.fromarray(BYTES), np.full_like(BYTES, 255)).convert("LA"),
}


@pytest.mark.parametrize("name", FORMS)
def test_every_form_reads_as_the_same_mask(name):
    assert torch.equal(read_mask(FORMS[name]), torch.from_numpy(MASK))
    assert torch.equal(masks_per_sample([FORMS[name]], [1])[0][0], torch.from_numpy(MASK))


@pytest.mark.parametrize("name", [name for name, form in FORMS.items() if isinstance(form, Image.Image)])
def test_files_read_as_their_pictures(name, tmp_path):
    FORMS[name].save(tmp_path / "mask.png")
    assert torch.equal(read_mask(tmp_path / "mask.png"), torch.from_numpy(MASK))
    assert torch.equal(read_mask(str(tmp_path / "mask.png")), torch.from_numpy(MASK))
    painted = DATA_URL + base64.b64encode((tmp_path / "mask.png").read_bytes()).decode()
    for source in (str(tmp_path / "mask.png"), painted):
        assert np.array_equal(open_mask(source), BYTES), "command line and page read it alike"


def test_a_mask_turned_by_its_camera_is_upright(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 3  # upside down
    Image.fromarray(BYTES).save(tmp_path / "mask.png", exif=exif)
    assert torch.equal(read_mask(tmp_path / "mask.png"), torch.from_numpy(MASK[::-1, ::-1].copy()))


@pytest.mark.parametrize(
    "mask, message",
    [
        (None, "a mask must be a path, a PIL image, an array or a tensor, got NoneType"),
        ([[0, 1]], "an array or a tensor, got list"),
        (np.zeros((1, 4, 6)), r"two-dimensional \(H, W\), got shape \(1, 4, 6\)"),
        (torch.zeros(0, 6), r"two-dimensional \(H, W\), got shape \(0, 6\)"),
        (np.full((4, 6), np.nan), "numbers from 0 to 1, 255 or 65535, got nan to nan"),
        (-BYTES.astype(float), "numbers from 0 to 1, 255 or 65535, got -255 to"),
        (np.full((4, 6), 70_000), "got 70000 to 70000"),
        (np.full((4, 6), "a"), "must hold booleans or numbers, got <U1"),
        ("https://example.org/mask.png", "got the address `https://example.org/mask.png`. Download it first"),
        ("absent.png", "no image file at `absent.png`"),
    ],
)
def test_what_is_no_mask_is_refused(mask, message):
    with pytest.raises(ValueError, match=message):
        read_mask(mask)


def test_nothing_inside_is_no_mask_of_everything():
    for empty in (Image.new("RGBA", (6, 4), (255, 255, 255, 0)), Image.new("L", (6, 4)), np.zeros((4, 6), np.uint8)):
        assert not read_mask(empty).any()
