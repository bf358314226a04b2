"""The form: what the controls say becomes a request, and a written picture becomes the controls again."""

import shutil
from pathlib import Path

import gradio as gr
import numpy as np
import pytest
from PIL import Image

from relationbooth_pipeline import RelationBoothPipeline, miniature
from relationbooth_pipeline.app.actions import Actions, variants
from relationbooth_pipeline.app.drawing import Drawn, draw
from relationbooth_pipeline.app.faults import Fault, located, note
from relationbooth_pipeline.app.form import Form, arranged, form_of, synced
from relationbooth_pipeline.app.places import Places, entry
from relationbooth_pipeline.app.python_lines import python_lines
from relationbooth_pipeline.app.results import Results
from relationbooth_pipeline.app.studio import MAX_OBJECTS, Offer, Studio
from relationbooth_pipeline.generation.requests import settings_from
from relationbooth_pipeline.generation.sources import load_pipeline
from relationbooth_pipeline.relation_files import LORA_WEIGHT_NAME

from .conftest import PHOTOS


def form(actions, **changes):
    found = actions.first_form()
    found.steps = 2
    for name, value in changes.items():
        setattr(found, name, value)
    return found


def last(events):
    """All updates of a drawing, the later ones over the earlier."""
    told = {}
    for event in events:
        told |= event
    return told


def test_the_page_begins_with_the_demo(actions):
    found = actions.first_form()
    assert found.phrases[:2] == ["cat", "bear"] and found.loras[0] == "shaking_hands"
    assert found.prompt == "a cat is shaking hands with a bear in a meadow"
    request, images = found.request()
    assert len(images) == 2 and request["box"] == actions.studio.offers["shaking_hands"].layout
    assert request["lora"] == [["shaking_hands", actions.studio.offers["shaking_hands"].weight]]


def test_strengths_are_parts_of_the_common_one(actions):
    found = form(actions, strengths=[1.0, 0.5, 1, 1, 1, 1], image_prompt_scale=0.6)
    assert found.request()[0]["image_prompt_scale"] == [0.6, 0.3]
    assert form(actions, image_prompt_scale=0.6).request()[0]["image_prompt_scale"] == 0.6


@pytest.mark.parametrize(
    ("changes", "area", "sentence"),
    [
        ({"phrases": ["cat", " ", "", "", "", ""]}, "objects", "Object 2 needs a phrase"),
        ({"phrases": ["cat", "bear", "dog", "", "", ""]}, "objects", "Object 3 .dog. needs a photo"),
        ({"prompt": " "}, "sentence", "Write a sentence first"),
        ({"number": 9}, "more", "must be from 1 to 8, got 9"),
    ],
)
def test_what_is_missing_is_told_where_it_is_missing(actions, changes, area, sentence):
    with pytest.raises(Fault, match=sentence) as fault:
        form(actions, **changes).request()
    assert fault.value.area == area
    told = last(actions.draw(form(actions, **changes), []))
    assert "rb-fault" in told[area] and "history" not in told


def test_places_are_drawn_or_found_never_half(actions):
    found = form(actions)
    found.places[1] = entry("bear", True)
    with pytest.raises(Fault, match="Draw a box for the bear, or let all places be found"):
        found.request()
    found.places = arranged(found.places, None)
    assert found.request()[0]["automatic_layout"] is True


def test_places_follow_their_objects():
    places = [entry("cat", True, [0, 0, 0.5, 1]), *[entry() for _ in range(MAX_OBJECTS - 1)]]
    gone = synced(places, [None] * MAX_OBJECTS, ["cat"] + [""] * 5)
    assert gone[0] == entry("cat")
    kept = synced(places, ["a.png"] + [None] * 5, [" dog "] + [""] * 5)
    assert kept[0] == entry("dog", True, [0, 0, 0.5, 1])


@pytest.mark.parametrize(
    "payload",
    ["text", [entry()] * 7, [{"box": [0, 0, 2, 1]}], [{"box": [0, 0, 0, 1]}], [{"box": ["a", 0, 1, 1]}],
     [{"box": [float("nan"), 0, 1, 1]}], [{"mask": "/etc/passwd"}],
     [{"mask": "data:image/png;base64," + "A" * 99_999}]],
)  # fmt: skip
def test_the_browser_is_not_trusted_with_places(payload):
    with pytest.raises(gr.Error):
        Places().preprocess(payload)


def test_text_of_people_is_never_html():
    assert note("<img src=x onerror=alert(1)>") == (
        '<p class="rb-note rb-fault" role="alert">&lt;img src=x onerror=alert(1)&gt;</p>'
    )
    fault = located(ValueError("`--image-prompt-scale`: `/tmp/x/cat.svg` is bad"), ["/tmp/x/cat.svg"])
    assert str(fault) == "`image_prompt_scale`: `photo 1` is bad"


def test_a_kept_picture_brings_the_form_back_and_its_python_draws_it(actions, tmp_path, monkeypatch):
    mine = form(actions, strengths=[1.0, 0.5, 1, 1, 1, 1], seed=5, negative_prompt="red", width=128, height=128)
    kept = last(actions.draw(mine, []))["history"][0]
    back, lost = actions.restore(kept["path"])
    assert not lost
    again = last(actions.draw(back, []))["history"][0]
    assert again["settings"] == kept["settings"]
    assert np.array_equal(np.asarray(Image.open(again["path"])), np.asarray(Image.open(kept["path"])))
    monkeypatch.chdir(tmp_path)
    for path in PHOTOS:
        Image.open(path).save(path.rpartition("/")[2])
    exec(python_lines(kept["settings"]), {})
    difference = np.asarray(Image.open("picture.png")).astype(int) - np.asarray(Image.open(kept["path"]))
    assert np.abs(difference).max() <= 2  # photos saved anew: the same pixels; another pipeline object


def test_two_loras_of_one_name_are_told_apart_at_the_start(studio, tmp_path):
    own = studio.offers["hugging"]
    page = Studio()
    page.pipe, page.offers = studio.pipe, {"hugging": own}
    (tmp_path / "hugging").mkdir()
    shutil.copy(miniature.path() / "relation_loras" / "jumping" / LORA_WEIGHT_NAME, tmp_path / "hugging")
    page._offer("hugging", 0.7)  # the model's own, at another weight
    assert page.offers["hugging"].weight == 0.7
    with pytest.raises(ValueError, match="would be called 'hugging', as another LoRA here already is. Name its folder"):
        page._offer(str(tmp_path / "hugging"), None)


def test_a_photo_that_is_not_found_is_asked_for_by_name(studio, tmp_path):
    one = Actions(studio, Results(studio, tmp_path / "one", shared=False))
    mine = form(one)
    Image.new("RGB", (64, 64), "red").save(tmp_path / "toy.png")
    mine.photos[0] = str(tmp_path / "toy.png")
    kept = last(one.draw(mine, []))["history"][0]
    other = Actions(studio, Results(studio, tmp_path / "other", shared=False))
    back, lost = other.restore(kept["path"])
    assert back.photos[0] is None and "the photo of the cat (add it again: toy.png)" in lost
    assert back.photos[1] is not None  # an example's photo is always known


def test_a_mask_from_a_file_is_asked_for_by_name(actions, tmp_path):
    settings, images = actions.studio.settings(*form(actions).request())
    Image.new("L", (64, 64), 255).save(tmp_path / "left.png")
    settings.mask = [str(tmp_path / "left.png"), None]
    record = settings.as_record()
    assert record["mask"][0]["name"] == "left.png" and len(record["mask"][0]["sha256"]) == 64
    back, lost = form_of(settings_from(record), images, actions.studio.offers, actions.studio.defaults)
    assert back.places[0]["mask"] is None and lost == ["the mask of the cat (paint it again: left.png)"]
    assert "open_mask('left.png')" in python_lines(record)
    for name, place in (("hugging", 'folder / "relation_loras" / '), ("mine.safetensors", "("), ("my-lora", "(")):
        assert f"{place}{name!r}, adapter_name" in python_lines({**record, "model": "miniature", "lora": [[name, 1.0]]})


def test_python_loads_a_file_as_generate_does(actions, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    settings, _ = actions.studio.settings(*form(actions, loras=["none"] * 3).request())
    Path("xl.safetensors").touch()
    settings.model, settings.dtype, settings.image, asked = "xl.safetensors", "float32", [], []

    def load(*given, **options):
        asked.append((given, options))
        raise ValueError("enough")

    monkeypatch.setattr(RelationBoothPipeline, "from_single_file", load)
    for call in (lambda: load_pipeline(settings, False), lambda: exec(python_lines(settings.as_record()), {})):
        with pytest.raises(ValueError, match="enough"):
            call()
    assert asked[0] == asked[1]


@pytest.mark.parametrize("template", ["a {9} hugs", "a {x} hugs", "a {0} hugs {", "a {0.x}", "a {0[a]}"])
def test_a_lora_with_other_slots_offers_no_sentence(template):
    assert Offer("hug", "hug", 1.0, template, [[0, 0, 0.5, 1], [0.5, 0, 1, 1]]).sentence(["cat", "bear"]) is None


def test_comparisons_differ_in_one_thing(actions):
    settings, images = actions.studio.settings(*form(actions).request())
    pairs = dict(variants(settings, "without and with the RelationLoRAs"))
    assert pairs["adapter alone"].lora == [] and pairs["with RelationLoRA"].lora == settings.lora
    weights = variants(settings, "weights 0.5, 0.7 and 1")
    assert [one.lora[0][1] for _, one in weights] == [0.5, 0.7, 1.0]
    tokens = [one for _, one in variants(settings, "with and without local tokens")]
    pictures = [e.picture for e in draw(actions.studio, tokens, images) if isinstance(e, Drawn)]
    assert np.abs(np.asarray(pictures[0]).astype(int) - np.asarray(pictures[1])).mean() > 0.5
    sheet = last(actions.draw(form(actions), [], "weights 0.5, 0.7 and 1"))["history"][0]
    assert sheet["settings"]["compared"] == "weights 0.5, 0.7 and 1" and Image.open(sheet["path"]).width > 4 * 512
    alone = form(actions, loras=["none"] * 3)
    assert "Choose a RelationLoRA first" in last(actions.draw(alone, [], "weights 0.5, 0.7 and 1"))["sentence"]


def test_a_form_without_photos_draws_the_sentence(actions):
    empty = Form(
        photos=[None] * 6, phrases=[""] * 6, strengths=[1.0] * 6, places=[entry()] * 6, prompt="a cat", steps=1
    )
    told = last(actions.draw(empty, []))
    assert told["history"][0]["settings"]["image"] == []


def test_the_page_begins_and_drawing_waits_while_the_model_loads(studio, tmp_path):
    early = Studio()
    early._describe()
    actions = Actions(early, Results(early, tmp_path / "served"))
    begun = actions.first_form()
    assert begun.loras[0] == "shaking_hands" and begun.places[0]["box"] is not None and begun.steps is None
    begun.steps, begun.strengths = 2, [1.0, 0.5, 1, 1, 1, 1]
    events = actions.draw(begun, [])
    assert [next(events)["status"] for _ in range(2)][1] == note("Waiting for the model: starting …", "hint")
    early.pipe, early.preview, early.defaults = studio.pipe, studio.preview, studio.defaults
    early.loaded.set()
    settings = last(events)["history"][0]["settings"]
    assert settings["image_prompt_scale"] == [1.0, 0.5] and settings["height"] == studio.defaults["height"]


def test_a_model_that_cannot_be_loaded_is_told_and_draws_nothing(tmp_path):
    failed = Studio(model=str(tmp_path / "none"))
    with pytest.raises(ValueError, match="none"):
        failed.load()
    with pytest.raises(ValueError, match="the model could not be loaded: "):
        failed.wait()
    assert failed.described.is_set() and failed.stage == "failed"
