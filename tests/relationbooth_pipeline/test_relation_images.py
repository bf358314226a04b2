import numpy as np
import pytest
import torch
from PIL import Image

from relationbooth_pipeline.relation_images import clip_pixels, open_image
from tests.tiny import photo


def test_transparency_lies_over_white(tmp_path):
    image = Image.new("RGBA", (2, 1), (255, 0, 0, 0))
    image.putpixel((1, 0), (255, 0, 0, 255))
    image.save(tmp_path / "a.png")
    opened = open_image(tmp_path / "a.png")
    assert (
        opened.mode == "RGB" and opened.getpixel((0, 0)) == (255, 255, 255) and opened.getpixel((1, 0)) == (255, 0, 0)
    )


def test_exif_rotation_is_applied(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6  # the camera was turned by 90°
    photo(size=(40, 30)).save(tmp_path / "a.jpg", exif=exif)
    assert open_image(tmp_path / "a.jpg").size == (30, 40)


def test_sixteen_bit_images_keep_their_greys(tmp_path):
    Image.fromarray(np.array([[0, 32768, 65535]], dtype=np.uint16)).save(tmp_path / "a.png")
    assert [p[0] for p in open_image(tmp_path / "a.png").get_flattened_data()] == [0, 128, 255]


@pytest.mark.parametrize("mode", ["CMYK", "L", "1", "P", "LA"])
def test_other_modes_become_rgb(mode):
    assert open_image(photo().convert(mode) if mode != "P" else photo().quantize(8)).mode == "RGB"


def test_refusals(tmp_path):
    frames = [photo(0), photo(1)]
    frames[0].save(tmp_path / "moving.gif", save_all=True, append_images=frames[1:])
    photo().save(tmp_path / "cut.png")
    data = (tmp_path / "cut.png").read_bytes()
    (tmp_path / "cut.png").write_bytes(data[: len(data) // 2])
    (tmp_path / "text.png").write_text("no image")
    for file, message in {
        "moving.gif": "is animated \\(2 frames\\)",
        "cut.png": "is not a readable image",
        "text.png": "is not a readable image",
        "absent.png": "no image file at",
    }.items():
        with pytest.raises(ValueError, match=message):
            open_image(tmp_path / file)
    with pytest.raises(ValueError, match="must be a path or a PIL image, got int"):
        open_image(3)
    with pytest.raises(ValueError, match="sides from 1 to 16384 pixels, got 20000×1"):
        open_image(Image.new("L", (20000, 1)))


def test_a_decompression_bomb_is_refused(tmp_path, monkeypatch):
    photo(size=(40, 30)).save(tmp_path / "a.png")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    with pytest.raises(ValueError, match="too large to open safely"):
        open_image(tmp_path / "a.png")


def test_clip_pixels_match_transformers_processor():
    from transformers import CLIPImageProcessorPil

    processor = CLIPImageProcessorPil(size={"height": 28, "width": 28}, do_center_crop=False)
    images = [photo(0, (50, 70)), photo(1, (64, 64))]
    squashed = [image.resize((64, 64)) for image in images]
    expected = processor(squashed, return_tensors="pt").pixel_values
    torch.testing.assert_close(clip_pixels(images, 28, 64), expected, atol=1e-5, rtol=1e-5)
