"""The page in a real Chromium, as a person uses it, from photos to a picture that comes back. Skipped without one."""

import numpy as np
import pytest
from PIL import Image

from relationbooth_pipeline.sheets.png_settings import read_png_settings
from tests.forked import free_port

from .conftest import PHOTOS
from .visitor import Visitor, running


@pytest.fixture(scope="module")
def address():
    """`relationbooth app`, as a process of its own."""
    port = free_port()
    with running(["-m", "relationbooth_pipeline.commands", "app", "--no-browser", "--port", str(port)], port) as found:
        yield found


def test_from_two_photos_to_a_picture_that_comes_back(browser, address, tmp_path):
    visitor = Visitor(browser, address)
    page = visitor.page
    visitor.look("1_begin")
    for i in range(2):
        visitor.click(f"#photo{i} button[aria-label='Remove Image']")
        page.wait_for_selector(f'.rb-chip[data-i="{i}"]', state="detached")
    for i in range(2):
        page.set_input_files(f"#photo{i} input[type=file]", PHOTOS[i])
        page.wait_for_selector(f'.rb-chip[data-i="{i}"]')
    assert page.locator(".rb-box").count() == 0  # a new photo has no place yet
    visitor.look("2_uploaded")

    visitor.drag((0.1, 0.2), (0.3, 0.5), (0.45, 0.9))
    assert visitor.box(0) == pytest.approx([10, 20, 45, 90], abs=1)
    visitor.drag((0.55, 0.2), (0.95, 0.9))  # the next one without a box is meant
    assert visitor.box(1) == pytest.approx([55, 20, 95, 90], abs=1)
    visitor.drag((0.25, 0.5), (0.3, 0.45))
    assert visitor.box(0) == pytest.approx([15, 15, 50, 85], abs=1)
    visitor.drag((0.5, 0.85), (0.55, 0.95))  # the corner
    assert visitor.box(0) == pytest.approx([15, 15, 55, 95], abs=1)
    page.locator('.rb-box[data-i="0"]').focus()
    for key, expected in (
        ("ArrowLeft", [14, 15, 54, 95]),
        ("ArrowUp", [14, 14, 54, 94]),
        ("Shift+ArrowLeft", [14, 14, 53, 94]),
    ):
        page.keyboard.press(key)
        page.wait_for_timeout(300)
        assert visitor.box(0) == pytest.approx(expected, abs=1)
        assert page.evaluate("document.activeElement.classList.contains('rb-box')")
    visitor.look("3_places")

    page.locator("#lora0 input").click()
    page.get_by_role("option", name="hugging").click()
    has_template = "document.querySelector('#prompt textarea').value.includes('hugging')"
    page.wait_for_function(has_template)  # the sentence that was filled in follows the choice
    page.fill("#prompt textarea", "my own words")  # which the button alone writes over
    page.wait_for_selector("#hint .rb-note")
    visitor.click("#use-template")
    page.wait_for_function(has_template)
    page.wait_for_selector("#hint .rb-note", state="detached")
    assert page.locator("#prompt textarea").input_value() == "a cat is hugging a bear"
    page.fill("#prompt textarea", "a cat is hugging a dog")
    page.wait_for_selector("#hint .rb-note")
    assert "does not mention: bear" in page.locator("#hint").inner_text()
    page.fill("#prompt textarea", "a cat is hugging a bear in a meadow")
    page.wait_for_selector("#hint .rb-note", state="detached")
    visitor.look("4_sentence")

    page.click("#draw")
    page.wait_for_selector("#status progress")
    visitor.look("5_drawing")
    page.click("#cancel")
    page.wait_for_function("document.querySelector('#status').innerText === 'Cancelled.'")
    assert page.locator("#gallery img").count() == 0
    visitor.few_steps()  # all but the cancelled drawing can be short
    visitor.draw()
    page.wait_for_selector("#gallery img")
    visitor.look("6_drawn")
    first = visitor.picture(tmp_path, "first.png")
    settings = read_png_settings(first)
    assert settings["lora"] == [["hugging", settings["lora"][0][1]]] and settings["phrase"] == ["cat", "bear"]
    python = page.locator("#python").inner_text()
    assert "a cat is hugging a bear in a meadow" in python

    fresh = Visitor(browser, address)
    fresh.page.set_input_files("#restore input[type=file]", first)
    fresh.page.wait_for_selector("#note-restore .rb-done")
    assert fresh.page.locator("#prompt textarea").input_value() == settings["prompt"]
    fresh.look("7_restored")
    fresh.draw()
    again = fresh.picture(tmp_path, "again.png")
    assert read_png_settings(again) == settings
    assert np.array_equal(np.asarray(Image.open(first)), np.asarray(Image.open(again)))
    fresh.leave()

    page.fill("#phrase1 input, #phrase1 textarea", "")
    page.click("#draw")
    page.wait_for_selector("#note-objects .rb-fault")
    assert "Object 2 needs a phrase" in page.locator("#note-objects").inner_text()
    visitor.look("8_refused")
    visitor.leave()
