"""The page as an interface: gradio_client draws what `generate` draws, and is refused in the same words."""

import shutil
import struct
import threading
import zlib

import numpy as np
import pytest
from gradio_client import Client, handle_file
from gradio_client.exceptions import AppError
from PIL import Image

from relationbooth_pipeline.generation.drawing import prepare
from relationbooth_pipeline.generation.settings import GenerationSettings
from relationbooth_pipeline.generation.sources import load_pipeline, resolve_sources
from relationbooth_pipeline.sheets.png_settings import read_png_settings

from .conftest import PHOTOS, REQUEST


def draw(client, photos=PHOTOS, **changes):
    files = [handle_file(path) for path in photos]
    return client.predict(files, {**REQUEST, **changes}, api_name="/draw")


@pytest.fixture(scope="module")
def generated():
    """Draws as `generate` does, on a pipeline that the page has never seen; loaded once for all comparisons."""
    pipe = load_pipeline(resolve_sources(GenerationSettings("a picture")), needs_adapter=True)

    def draw_again(**changes):
        settings = GenerationSettings(**{**REQUEST, "image": PHOTOS, **changes})
        return np.asarray(prepare(settings, settings.checked(), pipe).run())

    return draw_again


@pytest.mark.parametrize("changes", [{}, {"lora": [["hugging", 0.7]]}, {"image_prompt_scale": [1.0, 0.3]}])
def test_it_draws_the_picture_of_generate_with_all_its_settings(client, generated, changes):
    path, told = draw(client, **changes)
    lora = [tuple(entry) for entry in changes.get("lora", [])]
    assert np.array_equal(np.asarray(Image.open(path)), generated(**{**changes, "lora": lora}))
    kept = read_png_settings(path)
    assert kept == told and kept["prompt"] == REQUEST["prompt"] and kept["steps"] == 2
    assert [reference["name"] for reference in kept["image"]] == ["cat.png", "bear.png"]
    assert all(len(reference["sha256"]) == 64 and set(reference) == {"name", "sha256"} for reference in kept["image"])


def test_a_lora_of_the_picture_before_does_not_stay(client, generated):
    draw(client, lora=[["hugging", 1.0]])
    path, _ = draw(client)
    assert np.array_equal(np.asarray(Image.open(path)), generated())


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"prompt": " "}, "must be a sentence"),
        ({"phrase": ["cat"]}, "every `image` needs a `phrase`"),
        ({"steps": 10_000}, "`steps` must be at most 150 here"),
        ({"steps": "9"}, "`steps` must be a whole number"),
        ({"seed": float("1e300")}, "`seed` must be a whole number"),
        ({"width": 100}, "must be a multiple of 8 from 8 to 4096, got 100"),
        ({"lora": [["/etc/passwd", 1.0]]}, "`lora` must be one of carrying"),
        ({"box": [[0, 0, 2, 1], [0, 0, 1, 1]]}, r"in \[0, 1\]"),
        ({"mask": [PHOTOS[0], None]}, "`mask` must be painted here"),
        ({"model": "/etc"}, "do not know `model`"),
        ({"image": ["/etc/passwd"]}, "do not know `image`"),
        ({"prompt": "a" * 3000}, "at most 2000 characters"),
    ],
)
def test_refusals_name_what_is_wrong(client, changes, message):
    with pytest.raises(AppError, match=message):
        draw(client, **changes)


def test_a_cancelled_job_stops_and_the_next_one_draws(client, generated):
    job = client.submit([], {"prompt": "a cat in a meadow", "steps": 150}, api_name="/draw")
    while not job.outputs():
        threading.Event().wait(0.05)
    job.cancel()
    path, _ = draw(client)
    assert np.array_equal(np.asarray(Image.open(path)), generated())
    assert len(job.outputs()) < 100


def test_ten_clients_get_their_own_pictures_in_order(address, generated):
    """Twenty jobs at once: every client gets the pictures of its own prompts and seeds, all of them."""
    found, faults = {}, []

    def work(number):
        try:
            client = Client(address, verbose=False)
            jobs = [
                client.submit([], {"prompt": "a cat", "steps": 1, "seed": 2 * number + k}, api_name="/draw")
                for k in (0, 1)
            ]
            found[number] = [job.result(timeout=180) for job in jobs]
        except Exception as error:  # a thread's fault would be lost
            faults.append(error)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(10)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not faults
    seeds = [told["seed"] for number in range(10) for _, told in found[number]]
    assert seeds == list(range(20))
    pictures = {Image.open(path).tobytes() for number in range(10) for path, _ in found[number]}
    assert len(pictures) == 20
    expected = generated(prompt="a cat", steps=1, seed=13, image=[], phrase=[], box=None)
    assert np.array_equal(np.asarray(Image.open(found[6][1][0])), expected)


def test_photos_are_opened_by_the_project_s_own_opener(client, generated, tmp_path):
    (tmp_path / "cat.svg").write_text('<svg xmlns="http://www.w3.org/2000/svg"><script>alert(1)</script></svg>')
    (tmp_path / "cat.html").write_text("<script>alert(1)</script>")
    shutil.copy(PHOTOS[0], tmp_path / "renamed.txt")
    for name in ("cat.svg", "cat.html"):
        with pytest.raises(AppError, match="photo 1` is not a readable image"):
            draw(client, [tmp_path / name, PHOTOS[1]])
    Image.new("1", (30_000, 100)).save(tmp_path / "long.png")
    with pytest.raises(AppError, match="must have sides from 1 to 16384 pixels"):
        draw(client, [tmp_path / "long.png", PHOTOS[1]])
    bomb = bytearray((tmp_path / "long.png").read_bytes())
    bomb[16:24] = struct.pack(">II", 30_000, 30_000)  # what its header says of it decides, before a pixel is read
    bomb[29:33] = struct.pack(">I", zlib.crc32(bomb[12:29]))
    (tmp_path / "bomb.png").write_bytes(bomb)
    with pytest.raises(AppError, match="is too large to open safely"):
        draw(client, [tmp_path / "bomb.png", PHOTOS[1]])
    path, _ = draw(client, [tmp_path / "renamed.txt", PHOTOS[1]])
    assert np.array_equal(np.asarray(Image.open(path)), generated())
