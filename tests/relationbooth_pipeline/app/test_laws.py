"""Laws of the page that need neither model nor browser: who is answered, what is shown to whom, what comes back."""

import asyncio
import sys
import threading
from types import SimpleNamespace

import pytest
import typer
from PIL import Image

from relationbooth_pipeline.app.drawing import Step, draw
from relationbooth_pipeline.app.form import NO_LORA, NUMBERS, Form, form_of
from relationbooth_pipeline.app.guards import SameOrigin
from relationbooth_pipeline.app.places import entry
from relationbooth_pipeline.app.results import Results
from relationbooth_pipeline.app.server import LOOPBACK, build
from relationbooth_pipeline.app.studio import MAX_OBJECTS, Offer, Studio
from relationbooth_pipeline.app.wiring import WHERE_NOTHING_IS_SET
from relationbooth_pipeline.commands.app import app
from relationbooth_pipeline.generation.requests import settings_from
from relationbooth_pipeline.generation.settings import sha256

STEPS = 40


def answer(**headers):
    """Status and headers with which a page for this machine alone answers."""
    told = {}

    async def page(scope, receive, send):
        await send({"type": "http.response.start", "status": 200, "headers": []})

    async def send(message):
        told.update(message)

    scope = {"type": "http", "headers": [(name.encode(), value.encode()) for name, value in headers.items()]}
    asyncio.run(SameOrigin(page, LOOPBACK)(scope, None, send))
    return told.get("status"), dict(told.get("headers", []))


def test_only_this_machine_s_own_page_is_answered():
    assert answer(host="127.0.0.1:7860")[0] == 200
    assert answer(host="[::1]:7860", origin="http://[::1]:7860")[0] == 200
    for origin in ("http://evil.example", "http://127.0.0.1:8000", "null"):
        assert answer(host="127.0.0.1:7860", origin=origin)[0] == 403
    for host in ("evil.example", "evil.example:7860", "127.0.0.1.evil.example", ""):
        assert answer(host=host)[0] == 403
    assert b"frame-ancestors 'none'" in answer(host="localhost")[1][b"content-security-policy"]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"mask": ["/etc/passwd"]}, "`mask` must be painted here"),
        ({"lora": [["/etc/passwd", 1.0]]}, "`lora` must be one of hugging"),
        ({"image": ["/etc/passwd"]}, "do not know `image`"),
        ({"model": "/etc"}, "do not know `model`"),
        ({"steps": 151}, "`steps` must be at most 150 here, got 151"),
        ({"lora": [["hugging", 1.0]] * 4}, "`lora` must have at most 3 entries here, got 4"),
        ({"phrase": ["cat", "a" * 2001]}, "`phrase` must have at most 2000 characters"),
    ],
)
def test_a_visitor_names_no_file_and_no_more_work_than_is_allowed(changes, message):
    studio = Studio()
    studio.offers = {"hugging": Offer("hugging", "hugging")}
    with pytest.raises(ValueError, match=message):
        studio.settings({"prompt": "a cat", **changes}, [])


def test_a_visitor_gives_no_more_photos_than_the_page_has_slots():
    with pytest.raises(ValueError, match="`image` must have at most 6 entries here, got 7"):
        Studio().settings({"prompt": "a cat", "phrase": ["cat"] * 7}, ["cat.png"] * 7)  # before one is opened


def test_a_photo_returns_to_another_page_only_where_one_person_uses_all(tmp_path):
    photo = tmp_path / "cat.png"
    Image.new("RGB", (8, 8), "red").save(photo)
    reference = {"name": "cat.png", "sha256": sha256(photo)}
    for shared, expected in ((True, str(photo)), (False, None)):
        results = Results(Studio(), tmp_path / "served", shared=shared)
        results.remember(str(photo))
        assert results.found(reference) == expected
    assert Results(Studio(), tmp_path / "served").found(str(photo)) is None  # a path in a picture names no file here


def test_every_picture_lies_under_a_name_of_its_own_that_nobody_can_guess(tmp_path):
    results = Results(Studio(), tmp_path / "served")
    folders = {results.write(Image.new("RGB", (8, 8)), {"seed": 1}, "1").parent for _ in range(3)}
    assert len(folders) == 3 and all(len(folder.name) >= 32 for folder in folders)
    assert all(folder.stat().st_mode & 0o077 == 0 for folder in folders)  # nor may other users of the machine look


class Drawing:
    """A studio whose pictures take `STEPS` steps and nothing else."""

    def __init__(self):
        self.lock, self.preview, self.steps, self.freed = threading.Lock(), None, 0, 0
        self.pipe = SimpleNamespace(maybe_free_model_hooks=self._free)
        self.at_once, self.most = 0, 0

    def _free(self):
        self.freed += 1

    def prepare(self, settings, images):
        return self

    def run(self, on_step, index, on_latents):
        self.at_once += 1
        self.most = max(self.most, self.at_once)
        try:
            for step in range(STEPS):
                threading.Event().wait(0.005)
                on_latents(None)
                on_step(step + 1, STEPS)
                self.steps += 1
        finally:
            self.at_once -= 1


def test_a_closed_drawing_stops_at_its_next_step():
    studio = Drawing()
    drawing = draw(studio, [SimpleNamespace(count=2)], [])
    assert isinstance(next(drawing), Step)
    drawing.close()
    assert studio.steps < STEPS / 2 and studio.freed == 1 and studio.at_once == 0


def test_one_picture_at_a_time_whoever_asks():
    studio = Drawing()
    threads = [threading.Thread(target=lambda: list(draw(studio, [SimpleNamespace(count=1)], []))) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert studio.steps == 3 * STEPS and studio.most == 1


def test_settings_of_a_picture_are_the_form_that_asked_for_it():
    rest = MAX_OBJECTS - 2
    asked = Form(
        photos=["a.png", "b.png", *[None] * rest],
        phrases=["cat", "bear", *[""] * rest],
        strengths=[1.0, 0.5, *[1.0] * rest],
        places=[entry("cat", True, [0, 0, 0.5, 1]), entry("bear", True, [0.5, 0, 1, 1]), *[entry()] * rest],
        prompt="a cat is hugging a bear",
        loras=["hugging", "none", "none"],
        weights=[0.7, 1.0, 1.0],
        negative_prompt="red",
        seed=5,
        width=128,
        height=96,
        steps=7,
        guidance_scale=2.5,
        guidance_rescale=0.2,
        image_prompt_scale=0.6,
        local_tokens=False,
    )
    request, images = asked.request()
    settings = settings_from(request | {"image": images})
    offers = {"hugging": Offer("hugging", "hugging")}
    defaults = {"image_prompt_scale": 0.6}  # all else is in the picture
    assert form_of(settings, images, offers, defaults) == (asked, [])
    back, lost = form_of(settings, images, {}, defaults)  # on a page that lacks the LoRA
    assert back.loras == ["none"] * 3 and lost == ["the LoRA hugging (start the page with it)"]


def test_without_gradio_the_command_says_what_to_install(monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "gradio", None)
    with pytest.raises(typer.Exit):
        app()
    assert "the page needs gradio: pip install 'relationbooth[app]'" in capsys.readouterr().err


def test_a_gradio_that_does_not_import_is_told_in_a_sentence(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "gradio", None)
    with pytest.raises(ValueError, match=r"the page needs gradio \(.*pip install 'relationbooth\[app\]'"):
        build(Studio(), tmp_path)


def test_what_the_loaded_model_tells_writes_over_nothing_that_was_set_meanwhile(tmp_path):
    """Its answer may be on the way while a picture is restored: values are joined in the browser, as they are then."""
    studio = Studio()
    studio.offers = {"hugging": Offer("hugging", "hugging")}
    page = build(studio, tmp_path)
    complete = next(event for event in page.fns.values() if event.name == "complete")
    defaults, *loras = complete.fn()
    assert len(complete.inputs) == 0 and len(defaults) == len(NUMBERS)
    assert all("value" not in update and update["choices"] == [NO_LORA, "hugging"] for update in loras)
    joined = next(event for event in page.fns.values() if event.js == WHERE_NOTHING_IS_SET)
    assert joined.fn is None and joined.inputs[1:] == joined.outputs and len(joined.outputs) == len(NUMBERS)
    page.close(verbose=False)


def test_no_change_of_a_photo_or_a_noun_is_passed_over_while_an_answer_is_on_its_way(tmp_path):
    page = build(Studio(), tmp_path)
    asked = [event for event in page.fns.values() if event.name == "resynced"]
    assert len(asked) == MAX_OBJECTS + 1 and {event.trigger_mode for event in asked} == {"multiple"}
    hints = [event for event in page.fns.values() if event.name == "hint"]
    assert [event.trigger_mode for event in hints] == ["always_last"]
    page.close(verbose=False)
