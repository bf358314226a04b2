"""The page for other addresses: a password before anything, and every file of a visit leaves with age."""

import json
import os
import threading
import time

import pytest

from relationbooth_pipeline.app import server
from relationbooth_pipeline.app.results import forget

from .conftest import PHOTOS
from .test_attacks import ask, upload
from .visitor import Visitor

PASSWORD = "eight words of it"


@pytest.fixture(scope="module")
def served(tmp_path_factory):
    return tmp_path_factory.mktemp("served")


@pytest.fixture(scope="module")
def app(studio, served):
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(os.environ, "GRADIO_TEMP_DIR", str(served))
        found = server.build(studio, served, shared=False)
        yield found
        found.close(verbose=False)


@pytest.fixture(scope="module")
def address(app):
    """As `--host 0.0.0.0 --password …` serves it."""
    return server.launch(app, "0.0.0.0", None, PASSWORD).replace("0.0.0.0", "127.0.0.1")


def test_nothing_is_reached_before_the_password(address):
    for path in ("/config", "/gradio_api/info", "/gradio_api/file=" + PHOTOS[0],
                 "/gradio_api/queue/data?session_hash=a"):  # fmt: skip
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
    for password in ("eight wrong words", PASSWORD):
        page.get_by_label("username").fill("relationbooth")
        page.get_by_label("password").fill(password)
        page.get_by_role("button", name="Login").click()
        if password != PASSWORD:
            page.get_by_text("Incorrect Credentials").wait_for()
            assert page.locator("#draw").count() == 0
            assert all("status of 4" in told for told in visitor.complaints)  # the browser tells the refusal itself
            visitor.complaints.clear()
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
    visitor.leave()
    forget(served, age=3600)
    assert names <= {path.name for path in served.rglob("*.png")}
    forget(served, age=0)
    assert [path for path in served.rglob("*") if path.is_file()] == []


def test_forgetting_goes_on_until_the_end(tmp_path, monkeypatch):
    monkeypatch.setattr(server, "UPLOAD_AGE", (0.05, 1.0))
    (tmp_path / "upload").mkdir()
    (tmp_path / "upload" / "cat.png").write_bytes(b"x")
    stop = threading.Event()
    thread = threading.Thread(target=server.forgetting, args=(tmp_path, stop))
    thread.start()
    stop.wait(0.4)
    assert (tmp_path / "upload" / "cat.png").is_file()  # not of age yet
    last = time.monotonic() + 30
    while list(tmp_path.iterdir()) and time.monotonic() < last:
        stop.wait(0.1)
    stop.set()
    thread.join(10)
    assert not list(tmp_path.iterdir()) and not thread.is_alive()
