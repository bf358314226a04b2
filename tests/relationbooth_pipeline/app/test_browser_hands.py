"""The page by finger, by keyboard alone, by camera and clipboard, and with text that would like to be a program."""

import base64
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from relationbooth_pipeline.generation.masks import open_mask
from relationbooth_pipeline.sheets.png_settings import read_png_settings

from .conftest import PHOTOS
from .visitor import Visitor

PHONE = {"viewport": {"width": 390, "height": 844}, "has_touch": True, "is_mobile": True, "color_scheme": "dark"}
CONTROLS = ("button", "textbox", "spinbutton", "slider", "checkbox", "combobox", "link", "listbox", "radio", "tab")
SCRIPT = "<img src=x onerror=alert(1)>"
DROP = """([target, name, data]) => {
    const bytes = Uint8Array.from(atob(data), c => c.charCodeAt(0));
    const dataTransfer = new DataTransfer();
    dataTransfer.items.add(new File([bytes], name, {type: 'image/png'}));
    const event = new DragEvent('drop', {dataTransfer, bubbles: true, cancelable: true});
    return document.querySelector(target).dispatchEvent(event);
}"""


def drop(visitor, target, path):
    """Drop a file; whether the browser would leave the page for it."""
    data = base64.b64encode(Path(path).read_bytes()).decode()
    return visitor.page.evaluate(DROP, [target, Path(path).name, data])


def painted(page, i):
    """Pixels of the mask's canvas that are painted."""
    count = "c => c.getContext('2d').getImageData(0, 0, 64, 64).data.filter((v, i) => i % 4 === 3 && v > 127).length"
    return page.locator(f'.rb-mask[data-i="{i}"]').evaluate(count)


def choose(page, tool):
    """One tap, also right after a gesture, while the canvas is being drawn anew."""
    page.tap(f'.rb-tool[data-tool="{tool}"]')
    page.wait_for_selector(f'.rb-tool[data-tool="{tool}"][aria-pressed="true"]')


def test_a_phone_in_the_dark_draws_paints_and_gets_its_place_back(browser, address, tmp_path):
    visitor = Visitor(browser, address, **PHONE)
    page = visitor.page
    assert page.evaluate("document.documentElement.scrollWidth") == 390  # nothing to scroll sideways
    background = page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert max(int(v) for v in background.removeprefix("rgb(").removesuffix(")").split(",")) < 64
    visitor.few_steps()
    page.tap('.rb-tool[data-tool="clear"]')
    page.wait_for_selector('.rb-box[data-i="0"]', state="detached")
    visitor.touch((0.1, 0.2), (0.3, 0.5), (0.5, 0.7))
    assert visitor.box(0) == pytest.approx([10, 20, 50, 70], abs=1)
    visitor.touch((0.3, 0.45), (0.35, 0.45), (0.4, 0.5))
    assert visitor.box(0) == pytest.approx([20, 25, 60, 75], abs=1)
    visitor.touch((0.6, 0.75), (0.65, 0.8), (0.7, 0.9))
    assert visitor.box(0) == pytest.approx([20, 25, 70, 90], abs=1)
    visitor.draw()
    boxed = visitor.picture(tmp_path, "boxed.png")

    choose(page, "paint")
    visitor.touch((0.1, 0.3), (0.8, 0.3))  # a quick hand: two points, one line
    assert painted(page, 0) == pytest.approx(64 * 0.7 * 8 + 50, abs=40) and painted(page, 1) == 0
    choose(page, "erase")
    visitor.touch((0.6, 0.3), (0.9, 0.3))
    visitor.look("phone_painted")
    visitor.draw()
    first = visitor.picture(tmp_path, "painted.png")
    settings = read_png_settings(first)
    assert read_png_settings(boxed)["mask"] is None and settings["mask"][1] is None
    mask = np.asarray(open_mask(settings["mask"][0])) > 0
    assert mask[19, 8:33].all() and not mask[19, 40:].any() and not mask[:14].any() and not mask[25:].any()
    pictures = [np.asarray(Image.open(path)).astype(int) for path in (boxed, first)]
    assert np.abs(pictures[0] - pictures[1]).mean() > 1  # the painted place acts in place of the box

    before = painted(page, 0)
    page.tap('.rb-tool[data-tool="clear"]')
    page.wait_for_function("document.querySelectorAll('.rb-box').length === 1")
    assert painted(page, 0) == 0
    assert drop(visitor, ".rb-title h1", first) is False  # anywhere; the browser stays
    page.wait_for_selector("#note-restore .rb-done")
    page.wait_for_selector('.rb-box[data-i="0"]')
    page.wait_for_timeout(300)
    assert painted(page, 0) == pytest.approx(before, abs=8)
    assert drop(visitor, ".rb-title h1", PHOTOS[0]) is False
    page.wait_for_selector("#note-restore .rb-fault")
    assert "carries no settings" in page.locator("#note-restore").inner_text()
    visitor.leave()


def remove_photo(page, i):
    """Gradio's own button, which on a busy machine is shown some time before it acts."""
    for _ in range(100):
        page.click(f"#photo{i} button[aria-label='Remove Image']")
        page.wait_for_timeout(900)
        if page.locator(f'.rb-chip[data-i="{i}"]').count() == 0:
            return
        if page.locator(f"#photo{i} button[aria-label='Remove Image']").count() == 0:
            return page.wait_for_selector(f'.rb-chip[data-i="{i}"]', state="detached")
    raise AssertionError(f"the photo of slot {i} cannot be removed")


def test_photos_from_camera_and_clipboard(browser, address):
    visitor = Visitor(browser, address, permissions=["camera", "clipboard-read", "clipboard-write"])
    page = visitor.page
    for i in range(2):
        remove_photo(page, i)
    page.bring_to_front()  # only a page in front may write to the clipboard
    page.evaluate(
        """async data => {
            const image = await (await fetch('data:image/png;base64,' + data)).blob();
            await navigator.clipboard.write([new ClipboardItem({'image/png': image})]);
        }""",
        base64.b64encode(Path(PHOTOS[1]).read_bytes()).decode(),
    )
    page.focus("#phrase1 input")  # the slot at hand, not the first without a photo
    page.keyboard.press("Control+v")
    page.wait_for_selector('.rb-chip[data-i="1"]')
    page.click("#photo0 button[aria-label='Capture from camera']")
    page.get_by_text("Click to Access Webcam").click()
    page.wait_for_function("document.querySelector('#photo0 video')?.videoWidth > 0")  # there is something to capture
    page.click("#photo0 button[aria-label='capture photo']")
    page.wait_for_selector('.rb-chip[data-i="0"]')
    page.click("#add")
    page.click("#photo2 button[aria-label='Paste from clipboard']")
    page.wait_for_selector('.rb-chip[data-i="2"]')
    sides = "async i => { await i.decode(); return [i.naturalWidth, i.naturalHeight]; }"
    width, height = page.locator("#photo0 img").evaluate(sides)
    assert width * 3 == height * 4  # the pattern's shape
    for i in (1, 2):
        assert page.locator(f"#photo{i} img").evaluate(sides) == list(Image.open(PHOTOS[1]).size)
    visitor.look("camera")
    visitor.leave()


def test_everything_by_keyboard_with_a_name_for_each_control(browser, address):
    visitor = Visitor(browser, address)
    page, keys = visitor.page, visitor.page.keyboard
    nodes = visitor.context.new_cdp_session(page).send("Accessibility.getFullAXTree")["nodes"]
    shown = [node for node in nodes if node.get("role", {}).get("value") in CONTROLS and not node["ignored"]]
    assert len(shown) > 30 and all(node["name"]["value"].strip() for node in shown)
    groups = [node["name"]["value"] for node in nodes if node.get("role", {}).get("value") == "group"]
    assert {"Object 1", "Object 2", "Whose place", "Places in the picture"} <= set(groups)

    def tab_to(selector):
        for _ in range(80):
            keys.press("Tab")
            if page.evaluate(f"document.activeElement.matches({selector!r})"):
                return
        raise AssertionError(f"Tab never reaches {selector}")

    order = ["#phrase0 input", "#strength0 input", "#remove0", "#up1", "#add", "#prompt textarea", "#lora0 input",
             "#weight0 input", "#more button"]  # fmt: skip
    for selector in order:
        tab_to(selector)
    keys.press("Enter")
    page.wait_for_selector("#steps input", state="visible")
    tab_to("#steps input")
    keys.press("Control+a")
    keys.type("2")
    tab_to('.rb-box[data-i="0"]')
    keys.press("Delete")
    page.wait_for_selector('.rb-box[data-i="0"]', state="detached")
    keys.press("Shift+Tab")  # focus stays near: the chips come before
    page.evaluate("document.querySelector('.rb-chip').focus()")
    keys.press("Enter")
    page.wait_for_selector('.rb-box[data-i="0"]')
    page.wait_for_timeout(300)
    for key in ("ArrowRight", "ArrowDown", "Shift+ArrowDown"):
        keys.press(key)
        page.wait_for_timeout(300)
    assert visitor.box(0) == pytest.approx([31, 31, 71, 72], abs=0.5)
    tab_to("#draw")
    keys.press("Enter")
    page.wait_for_selector("#status .rb-done")
    assert page.locator("#gallery img").count()
    visitor.leave()


def test_text_of_people_is_shown_as_text(browser, address):
    visitor = Visitor(browser, address)
    page = visitor.page
    visitor.few_steps()
    page.fill("#phrase0 input", SCRIPT)
    page.keyboard.press("Tab")
    page.wait_for_function("document.querySelector('.rb-chip').textContent.includes('onerror')")
    page.fill("#prompt textarea", "a bear")
    page.wait_for_selector("#hint .rb-note")
    page.wait_for_function("document.querySelector('#hint').innerText.includes('onerror')")
    page.fill("#negative-prompt textarea, #negative-prompt input", SCRIPT)
    page.fill("#prompt textarea", f"a bear and {SCRIPT}")
    visitor.draw()
    page.wait_for_selector("#gallery img")
    for place in (".rb-chip", ".rb-label", "#gallery", "#python"):
        assert SCRIPT in page.locator(place).first.inner_text().replace("\n", ""), place
    page.fill("#phrase1 input", f"{SCRIPT} thing")
    page.click("#photo1 button[aria-label='Remove Image']")
    page.wait_for_selector('.rb-chip[data-i="1"]', state="detached")
    page.click("#draw")
    page.wait_for_selector("#note-objects .rb-fault")
    assert SCRIPT in page.locator("#note-objects").inner_text()
    assert page.locator("img[src=x]").count() == 0
    visitor.leave()
