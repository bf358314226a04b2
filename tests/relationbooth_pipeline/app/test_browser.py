"""The page in a real Chromium, as a person uses it, from photos to a picture that comes back. Skipped without one."""

import os
import shutil
import socket
import subprocess
import sys
import urllib.error
import urllib.request
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from relationbooth_pipeline.sheets.png_settings import read_png_settings

from .conftest import PHOTOS

playwright = pytest.importorskip("playwright.sync_api", reason="the browser tests need `pip install playwright`")
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no chromium on this machine")
PATIENCE = 90_000  # milliseconds: a busy machine draws slowly
SCREENSHOTS = os.environ.get("RELATIONBOOTH_SCREENSHOTS")  # folder to look at them afterwards


@pytest.fixture(scope="module")
def address():
    """`relationbooth app`, as a process of its own."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    code = "from relationbooth_pipeline.commands.main import app; app()"
    command = [sys.executable, "-c", code, "app", "--no-browser", "--port", str(port)]
    server = subprocess.Popen(command, cwd=Path(__file__).parents[3], stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    found = f"http://127.0.0.1:{port}/"
    try:
        while True:
            assert server.poll() is None, server.stdout.read().decode()
            try:
                urllib.request.urlopen(found, timeout=5)
                break
            except (urllib.error.URLError, TimeoutError):
                continue
        yield found
    finally:
        server.terminate()
        log = server.communicate(timeout=30)[0].decode()
    assert "Traceback" not in log, log


@pytest.fixture(scope="module")
def browser():
    with playwright.sync_playwright() as play:
        yield play.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu"])


class Visitor:
    """A fresh page; what it asked for and complained about is checked at the end."""

    def __init__(self, browser, address, **options):
        self.context = browser.new_context(**{"viewport": {"width": 1400, "height": 1000}, **options})
        self.page = self.context.new_page()
        self.page.set_default_timeout(PATIENCE)
        self.complaints, self.hosts = [], set()
        self.page.on("console", lambda m: self.complaints.append(m.text) if m.type == "error" else None)
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.page.on("request", lambda r: self.hosts.add(r.url.split("/")[2]) if r.url.startswith("http") else None)
        self.page.goto(address)
        self.page.wait_for_selector("#draw:not([disabled])")
        self.page.wait_for_selector('.rb-box[data-i="1"]')
        self.host = address.split("/")[2]

    def look(self, name):
        if SCREENSHOTS:
            self.page.screenshot(path=f"{SCREENSHOTS}/{name}.png", full_page=True)

    def point(self, x, y):
        area = self.page.locator(".rb-board").bounding_box()
        return area["x"] + x * area["width"], area["y"] + y * area["height"]

    def drag(self, *points):
        self.page.locator(".rb-board").scroll_into_view_if_needed()
        self.page.mouse.move(*self.point(*points[0]))
        self.page.mouse.down()
        for point in points[1:]:
            self.page.mouse.move(*self.point(*point), steps=4)
        self.page.mouse.up()
        self.page.wait_for_timeout(300)

    def box(self, i):
        """XYXY of a box in percent, as the screen reader is told."""
        style = self.page.locator(f'.rb-box[data-i="{i}"]').evaluate(
            "b => [b.style.left, b.style.top, b.style.width, b.style.height]"
        )
        left, top, width, height = (float(value.removesuffix("%")) for value in style)
        return [left, top, left + width, top + height]

    def draw(self):
        self.page.click("#draw")
        self.page.wait_for_selector("#status progress")
        self.page.wait_for_selector("#status .rb-done")

    def picture(self, tmp_path, name):
        """The newest picture, downloaded through the page."""
        with self.page.expect_download() as download:
            self.page.locator("#files a[download], #files .download a, #files a").first.click()
        download.value.save_as(tmp_path / name)
        return tmp_path / name

    def leave(self):
        assert not self.complaints, self.complaints
        assert self.hosts == {self.host}
        self.context.close()


def test_from_two_photos_to_a_picture_that_comes_back(browser, address, tmp_path):
    visitor = Visitor(browser, address)
    page = visitor.page
    visitor.look("1_begin")
    for i in range(2):
        page.locator(f"#photo{i} button[aria-label='Remove Image']").click()
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
    page.click("#use-template")
    page.wait_for_function("document.querySelector('#prompt textarea').value.includes('hugging')")
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
    assert np.array_equal(np.asarray(Image.open(first)), np.asarray(Image.open(again)))
    assert read_png_settings(again) == settings
    fresh.leave()

    page.fill("#phrase1 input, #phrase1 textarea", "")
    page.click("#draw")
    page.wait_for_selector("#note-objects .rb-fault")
    assert "Object 2 needs a phrase" in page.locator("#note-objects").inner_text()
    visitor.look("8_refused")
    visitor.leave()
