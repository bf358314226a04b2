"""The review in a real Chromium: look, drag, exchange, type, decide, by mouse and by keys. Skipped without one."""

import json
import os
import threading
from contextlib import contextmanager

import pytest

from relationbooth_pipeline.triplets.annotation.decisions import DECISIONS
from relationbooth_pipeline.triplets.review import Desk, review_server

from ..annotation.drawn import LEFT, RIGHT, annotated, save_pictures

SCREENSHOTS = os.environ.get("RELATIONBOOTH_SCREENSHOTS")  # folder to look at them afterwards


@pytest.fixture
def work(tmp_path):
    pictures = save_pictures(tmp_path / "pictures", ("hug", "hug-2", "hug-3"))
    return annotated(tmp_path / "work", pictures, prompt="a cat is hugging a <b>dog</b>, so is a dog")


@contextmanager
def opened(browser, work, **options):
    """The page of a folder's review; what it complained about is checked at the end."""
    with review_server(Desk(work)) as server:
        threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        context = browser.new_context(**options)
        try:
            page = context.new_page()
            address, complaints = f"http://127.0.0.1:{server.server_address[1]}/", []
            page.on("console", lambda m: complaints.append(m.text) if m.type == "error" else None)
            page.on("pageerror", lambda error: complaints.append(str(error)))
            page.on("request", lambda r: complaints.append(r.url) if not r.url.startswith((address, "data:")) else None)
            page.goto(address)
            page.wait_for_selector("#title:has-text('hug')")
            yield page
        finally:
            context.close()
            server.shutdown()
    assert [text for text in complaints if "400 (Bad Request)" not in text] == []  # a refusal is told as such


@pytest.fixture
def page(browser, work):
    with opened(browser, work, viewport={"width": 1300, "height": 950}) as found:
        yield found


def look(page, name):
    if SCREENSHOTS:
        page.screenshot(path=f"{SCREENSHOTS}/{name}.png", full_page=True)


def drag(page, start, end, svg="#target"):
    area = page.locator(svg).bounding_box()
    points = [(area["x"] + x * area["width"], area["y"] + y * area["height"]) for x, y in (start, end)]
    page.mouse.move(*points[0])
    page.mouse.down()
    page.mouse.move(*points[1], steps=4)
    page.mouse.up()


def decisions(work):
    return [json.loads(line) for line in (work.root / DECISIONS).read_text(encoding="utf-8").splitlines()]


def test_a_person_looks_mends_and_decides(page, work):
    assert page.locator("#list button").count() == 3 and page.locator("#title").inner_text() == "hug"
    assert page.locator("b:has-text('dog')").count() == 0  # words are never HTML
    look(page, "review_candidate")
    drag(page, (LEFT[0] + 0.02, LEFT[1] + 0.02), (LEFT[0] - 0.03, LEFT[1] + 0.02))  # the cat's box, by its inside
    page.wait_for_selector("#stale:not([hidden])")
    page.keyboard.press("2")
    page.keyboard.press("ArrowRight")
    page.keyboard.press("Shift+ArrowDown")
    look(page, "review_boxes_moved")
    page.click("#accept")
    page.wait_for_selector("#title:has-text('hug-2')")
    (first,) = decisions(work)
    assert (first["candidate"], first["decision"], first["exchanged"]) == ("hug", "accept", False)
    cat, dog = first["boxes"]
    assert cat == pytest.approx([LEFT[0] - 0.05, LEFT[1], LEFT[2] - 0.05, LEFT[3]], abs=0.03)
    assert dog == pytest.approx([RIGHT[0] + 0.01, RIGHT[1], RIGHT[2] + 0.01, RIGHT[3] + 0.01], abs=0.03)

    page.keyboard.press("x")
    page.keyboard.press("Escape")
    page.keyboard.press("1")
    page.keyboard.press("k")
    page.keyboard.press("ArrowUp")
    page.keyboard.press("a")
    page.wait_for_selector("#title:has-text('hug-3')")
    second = decisions(work)[1]
    assert second["exchanged"] is True and "boxes" not in second and len(second["keypoints"]["target"]) == 2

    page.fill("#prompt", "a cat and a dog")
    page.click("#accept")
    page.wait_for_selector("#fault:has-text('must stand in the sentence')")
    look(page, "review_refusal")
    page.click("#undo")
    assert page.input_value("#prompt").startswith("a cat is hugging")
    page.click("#title")
    page.keyboard.press("r")
    page.wait_for_selector("#counts:has-text('2 accepted, 1 rejected, 0 undecided')")
    assert [line["decision"] for line in decisions(work)] == ["accept", "accept", "reject"]
    page.select_option("#which", "reject")
    assert page.locator("#list button").count() == 1
    page.reload()  # what was decided is still there
    page.wait_for_selector("#counts:has-text('2 accepted, 1 rejected, 0 undecided')")


def test_it_fits_a_phone_and_the_dark(browser, work):
    with opened(browser, work, viewport={"width": 390, "height": 800}, color_scheme="dark") as page:
        look(page, "review_phone")
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
