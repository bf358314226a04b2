import numpy as np
import pytest
import torch
from PIL import Image

from relationbooth_pipeline.relation_images import clip_pixels, open_image, short_repr
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
    (tmp_path / "header.png").write_bytes(data[:8] + b"\0\0\0\x05IHDR\0\0\0\x05\0\0\0\0\0")
    for file, message in {
        "moving.gif": "is animated \\(2 frames\\)",
        "cut.png": "is not a readable image",
        "text.png": "is not a readable image",
        "header.png": "header.png` is not a readable image",
        "absent.png": "no image file at",
    }.items():
        with pytest.raises(ValueError, match=message):
            open_image(tmp_path / file)
    with pytest.raises(ValueError, match="sides from 1 to 16384 pixels, got 20000×1"):
        open_image(Image.new("L", (20000, 1)))


def test_pages_and_animations_are_refused_in_every_format(tmp_path):
    for name, message in {
        "a.gif": "is animated",
        "a.webp": "is animated",
        "a.png": "is animated",
        "a.tif": "has 2 pages",
    }.items():
        photo(0).save(tmp_path / name, save_all=True, append_images=[photo(1)])
        with pytest.raises(ValueError, match=message):
            open_image(tmp_path / name)
        with Image.open(tmp_path / name) as opened, pytest.raises(ValueError, match=message):
            open_image(opened)


@pytest.mark.parametrize("opened", [False, True], ids=["path", "PIL image"])
def test_of_a_phone_s_jpeg_the_first_picture_is_taken(tmp_path, opened):
    """Upright, as any JPEG; the depth map inside is another picture of another size."""
    exif = Image.Exif()
    exif[0x0112] = 6
    first = Image.new("RGB", (64, 48), (200, 30, 30))
    first.save(
        tmp_path / "IMG.jpg", format="MPO", save_all=True, append_images=[photo(2, (32, 24))], exif=exif.tobytes()
    )
    found = open_image(Image.open(tmp_path / "IMG.jpg") if opened else tmp_path / "IMG.jpg")
    assert found.size == (48, 64)
    np.testing.assert_allclose(np.asarray(found), np.full((64, 48, 3), (200, 30, 30)), atol=4)


@pytest.mark.parametrize(
    "source, message",
    [
        (3, "must be a path or a PIL image, got int"),
        (b"a.png", "must be a path or a PIL image, got bytes"),
        ("https://example.org/cat.png", "got the address `https://example.org/cat.png`. Download it first"),
        ("data:image/png;base64," + "A" * 10_000, "got the address `data:image/png;base64,A+…A+`. Download it first"),
        ("a" * 5_000, "no image file at `a+…a+`. Check the path"),
        (torch.rand(3, 200, 200), r"got <Tensor of shape \(3, 200, 200\)>. Turn it into a PIL image"),
        (np.zeros((2, 2, 3)), r"got <ndarray of shape \(2, 2, 3\)>. Turn it into a PIL image"),
    ],
    ids=["number", "bytes", "address", "data address", "long path", "tensor", "array"],
)
def test_what_is_no_picture_gets_a_short_message(source, message):
    with pytest.raises(ValueError, match=message) as caught:
        open_image(source)
    assert len(str(caught.value)) < 400


def test_a_truncated_picture_that_pil_has_opened_is_refused(tmp_path):
    photo().save(tmp_path / "a.png")
    data = (tmp_path / "a.png").read_bytes()
    (tmp_path / "a.png").write_bytes(data[: len(data) // 2])
    with Image.open(tmp_path / "a.png") as opened, pytest.raises(ValueError, match="the image is not a readable image"):
        open_image(opened)


def test_messages_never_show_numbers_of_tensors():
    text = short_repr([[torch.rand(500), np.ones(9)], *range(99), "a" * 999])
    assert "<Tensor of shape (500,)>" in text and "<ndarray of shape (9,)>" in text and "0." not in text
    assert len(text) < 400 and short_repr("cat") == "'cat'" and short_repr([1, 2]) == "[1, 2]"


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
