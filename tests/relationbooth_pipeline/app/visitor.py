"""A person at the page in a real Chromium, and the page as a process of its own."""

import contextlib
import os
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[3]
PATIENCE = 90_000  # milliseconds: a busy machine draws slowly
SCREENSHOTS = os.environ.get("RELATIONBOOTH_SCREENSHOTS")  # folder to look at them afterwards


@contextlib.contextmanager
def running(command: list[str], port: int, **options) -> Iterator[str]:
    """Address of a page that `command` serves; whatever it prints holds no traceback."""
    server = subprocess.Popen(
        [sys.executable, *command], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, **{"cwd": ROOT, **options}
    )
    address = f"http://127.0.0.1:{port}/"
    try:
        while True:
            assert server.poll() is None, server.stdout.read().decode()
            try:
                urllib.request.urlopen(address, timeout=5)
                break
            except (urllib.error.URLError, TimeoutError):
                continue
        yield address
    finally:
        server.terminate()
        log = server.communicate(timeout=30)[0].decode()
    assert "Traceback" not in log, log


class Visitor:
    """A fresh page; what it asked for and complained about is checked at the end."""

    def __init__(self, browser, address, enter=True, **options):
        self.context = browser.new_context(**{"viewport": {"width": 1400, "height": 1000}, **options})
        self.page = self.context.new_page()
        self.page.set_default_timeout(PATIENCE)
        self.complaints, self.hosts = [], set()
        self.page.on("console", lambda m: self.complaints.append(m.text) if m.type == "error" else None)
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.page.on("dialog", lambda dialog: (self.complaints.append("a dialog"), dialog.dismiss()))
        self.page.on("request", lambda r: self.hosts.add(r.url.split("/")[2]) if r.url.startswith("http") else None)
        self.host = address.split("/")[2]
        self.page.goto(address)
        if enter:
            self.begin()

    def begin(self):
        """Wait until the page can be used and the model is loaded."""
        self.page.wait_for_selector("#draw:not([disabled])")
        self.page.wait_for_selector('.rb-box[data-i="1"]')
        self.page.wait_for_selector("#stage .rb-note", state="detached")

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

    def touch(self, *points):
        """A finger on the board: real touch events, of which the browser makes pointer events."""
        self.page.locator(".rb-board").scroll_into_view_if_needed()
        devtools = self.context.new_cdp_session(self.page)
        for kind, point in [("touchStart", points[0]), *(("touchMove", point) for point in points[1:])]:
            x, y = self.point(*point)
            devtools.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": [{"x": x, "y": y}]})
        devtools.send("Input.dispatchTouchEvent", {"type": "touchEnd", "touchPoints": []})
        self.page.wait_for_timeout(300)

    def box(self, i):
        """XYXY of a box in percent."""
        style = self.page.locator(f'.rb-box[data-i="{i}"]').evaluate(
            "b => [b.style.left, b.style.top, b.style.width, b.style.height]"
        )
        left, top, width, height = (float(value.removesuffix("%")) for value in style)
        return [left, top, left + width, top + height]

    def few_steps(self):
        if not self.page.locator("#steps input").is_visible():
            self.page.click("#more button")
        self.page.wait_for_function("document.querySelector('#steps input')?.value === '25'")  # the model's default
        self.page.fill("#steps input", "2")
        self.page.press("#steps input", "Tab")

    def draw(self):
        self.page.evaluate("document.querySelector('#status .rb-note')?.classList.add('old')")
        self.page.click("#draw")
        self.page.wait_for_selector("#status .rb-done:not(.old), .rb-fault")
        assert not self.page.locator(".rb-fault").count(), self.page.locator(".rb-fault").all_inner_texts()

    def click(self, selector):
        """A click on what stands still: a note or a picture that appears moves what lies below it, away from a click
        that is under way. People look where they click."""
        target, before = self.page.locator(selector).first, None
        target.scroll_into_view_if_needed()
        while (place := target.bounding_box()) != before:
            before = place
            self.page.wait_for_timeout(400)
        target.click()

    def picture(self, tmp_path, name):
        """The newest picture, downloaded through the page."""
        self.page.wait_for_function("[...document.querySelectorAll('#gallery img')].every(i => i.complete)")
        with self.page.expect_download() as download:
            self.click("#files a[download], #files .download a, #files a")
        download.value.save_as(tmp_path / name)
        return tmp_path / name

    def leave(self):
        assert not self.complaints, self.complaints
        assert self.hosts == {self.host}
        self.context.close()
