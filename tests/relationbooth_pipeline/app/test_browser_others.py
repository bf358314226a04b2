"""The page for other addresses: a password before anything, and files that leave with age."""

import json
import os
import time

import pytest

from relationbooth_pipeline.app import server

from .conftest import PHOTOS
from .test_attacks import ask, upload
from .visitor import Visitor

PASSWORD = "eight words of it"
AGE = 6  # seconds, in place of a day


@pytest.fixture(scope="module")
def served(tmp_path_factory):
    return tmp_path_factory.mktemp("served")


@pytest.fixture(scope="module")
def address(studio, served):
    """As `--host 0.0.0.0 --password …` serves it, with files that age in seconds."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(server, "UPLOAD_AGE", (1, AGE))
        patch.setitem(os.environ, "GRADIO_TEMP_DIR", str(served))
        app = server.build(studio, served, shared=False)
        found = server.launch(app, "0.0.0.0", None, PASSWORD)
        try:
            yield found.replace("0.0.0.0", "127.0.0.1")
        finally:
            app.close(verbose=False)


def test_nothing_is_reached_before_the_password(address):
    for path in ("/config", "/gradio_api/info", "/gradio_api/file=" + PHOTOS[0],
                 "/gradio_api/queue/data?session_hash=a", "/gradio_api/heartbeat/a"):  # fmt: skip
        assert ask(address, path)[0] in (401, 404), path
    body = json.dumps({"data": [[], {"prompt": "a cat", "steps": 1}]}).encode()
    for path in ("/gradio_api/call/draw", "/gradio_api/queue/join", "/gradio_api/run/draw"):
        assert ask(address, path, body, content_type="application/json")[0] == 401, path
    assert upload(address, "a.png", b"x")[0] == 401
    status, _, page = ask(address, "/")
    assert status == 401 or (b'"auth_required": true' in page.replace(b":true", b": true") and b"shaking" not in page)


def test_a_password_opens_the_page_and_files_leave_with_age(browser, address, served):
    visitor = Visitor(browser, address, enter=False)
    page = visitor.page
    page.get_by_label("username").fill("relationbooth")
    page.get_by_label("password").fill("eight wrong words")
    page.get_by_role("button", name="Login").click()
    page.get_by_text("Incorrect Credentials").wait_for()
    assert page.locator("#draw").count() == 0
    assert all("40" in complaint for complaint in visitor.complaints)  # the browser tells the refusal itself
    visitor.complaints.clear()
    page.get_by_label("password").fill(PASSWORD)
    page.get_by_role("button", name="Login").click()
    visitor.begin()
    page.click("#photo0 button[aria-label='Remove Image']")
    page.wait_for_selector('.rb-chip[data-i="0"]', state="detached")
    page.set_input_files("#photo0 input[type=file]", PHOTOS[0])
    page.wait_for_selector('.rb-chip[data-i="0"]')
    page.click("#automatic")
    visitor.few_steps()
    visitor.draw()
    page.wait_for_selector("#gallery img")
    names = {path.name for path in served.rglob("*.png")}
    assert "cat.png" in names and any(name.startswith("relationbooth-") for name in names)
    picture = page.locator("#gallery img").first.get_attribute("src").replace(address.rstrip("/"), "")
    assert ask(address, picture)[0] == 401  # the picture's address alone opens nothing
    last = time.monotonic() + 4 * AGE
    while (left := [path for path in served.rglob("*") if path.is_file()]) and time.monotonic() < last:
        time.sleep(0.5)
    assert left == []
    visitor.leave()
