"""What the controls of objects, sentence and places do, and how a page begins."""

import gradio as gr

from .actions import Actions
from .faults import note
from .form import NO_LORA, NUMBERS, arranged, synced
from .page import Page, aspect
from .places import entry
from .studio import MAX_LORAS, MAX_OBJECTS

WHERE_NOTHING_IS_SET = "(defaults, ...values) => values.map((value, i) => value ?? defaults[i])"
QUIET = {"show_progress": "hidden", "api_visibility": "private"}
# By default nothing is asked while an earlier answer is on its way: the place of a photo that is gone would stay.
EACH_TIME = {"trigger_mode": "multiple"}


def wire_form(app: gr.Blocks, page: Page, actions: Actions) -> None:
    """Attach the events of everything that is set before drawing."""
    _loading(app, page, actions)
    _objects(page)
    _sentence(page, actions)
    _places(page, actions)


def everything(page: Page) -> list:
    return [*page.fields(), *page.groups, *page.lora_rows, page.shown]


def _loading(app: gr.Blocks, page: Page, actions: Actions) -> None:
    studio = actions.studio

    def until(event):
        def waiting():
            while not event.wait(0.3):
                yield note(f"The model is being loaded: {studio.stage} …", "hint")
            if studio.fault is not None:
                yield note(f"The model could not be loaded: {studio.fault}")
            elif studio.loaded.is_set():
                yield ""

        return waiting

    def offered(names):
        return {lora: gr.update(choices=[NO_LORA, *studio.offers], value=name) for lora, name in zip(page.loras, names)}

    def begin(data):
        """The examples, where the visitor was not faster; drawing may be asked for while the model loads."""
        if studio.fault is not None:
            return {page.filled: ""}
        buttons = {button: gr.update(interactive=True) for button in (page.draw, page.compare)}
        if any(data.values()):
            return {**offered([NO_LORA] * MAX_LORAS), **buttons}
        form = actions.first_form()
        return {**page.show(form, 2), **offered(form.loras), **buttons, page.filled: form.prompt}

    def complete():
        """What only the loaded model tells: the other LoRAs, and defaults."""
        others = [gr.update(choices=[NO_LORA, *studio.offers]) for _ in page.loras]
        return [[studio.defaults.get(name) for name in NUMBERS], *others]

    options = {"concurrency_limit": None, **QUIET}
    numbers = [getattr(page, name) for name in NUMBERS]
    described = app.load(until(studio.described), None, page.stage, **options)
    outputs = [*everything(page), page.draw, page.compare, page.filled]
    begun = described.then(begin, {*page.photos, *page.phrases, page.prompt}, outputs, **options)
    loaded = begun.then(until(studio.loaded), None, page.stage, **options)
    completed = loaded.then(complete, None, [page.defaults, *page.loras], **options)
    # In the browser: what was restored or typed while the answer was on its way is not written over.
    completed.then(None, [page.defaults, *numbers], numbers, js=WHERE_NOTHING_IS_SET, **QUIET)


def _objects(page: Page) -> None:
    slots = [*page.photos, *page.phrases, *page.strengths, page.places, page.shown]

    def rows(values):
        """[photo, phrase, strength, place] of each slot, and the number of shown slots."""
        photos, phrases, strengths = (list(values[i * MAX_OBJECTS : (i + 1) * MAX_OBJECTS]) for i in range(3))
        places = synced(values[-2], photos, [phrase or "" for phrase in phrases])
        return [list(row) for row in zip(photos, phrases, strengths, places)], values[-1]

    def columns(found, shown):
        photos, phrases, strengths, places = (list(column) for column in zip(*found))
        places = synced(places, photos, [phrase or "" for phrase in phrases])
        visible = [gr.update(visible=i < shown) for i in range(MAX_OBJECTS)]
        return [*photos, *phrases, *strengths, places, shown, *visible]

    def swap(i):
        def run(*values):
            found, shown = rows(values)
            found[i - 1], found[i] = found[i], found[i - 1]
            return columns(found, shown)

        return run

    def remove(i):
        def run(*values):
            found, shown = rows(values)
            del found[i]
            return columns([*found, [None, "", 1.0, entry()]], max(1, shown - 1))

        return run

    outputs = [*slots, *page.groups]
    for i in range(MAX_OBJECTS):
        if i:
            page.ups[i].click(swap(i), slots, outputs, **QUIET)
        page.removes[i].click(remove(i), slots, outputs, **QUIET)
    add = page.add.click(lambda shown: min(MAX_OBJECTS, shown + 1), page.shown, page.shown, **QUIET)
    add.then(lambda shown: [gr.update(visible=i < shown) for i in range(MAX_OBJECTS)], page.shown, page.groups, **QUIET)

    def check(i):
        def run(photo):
            from ..relation_images import open_image

            try:
                if photo:
                    open_image(photo)
            except ValueError as error:
                return None, note(str(error).replace(str(photo), f"photo {i + 1}"))
            return gr.skip(), ""

        return run

    for i, photo in enumerate(page.photos):
        # `change` comes when the value is there (`clear` and `input` come before), but also while a whole page is being
        # filled: the places are therefore read in a second step, when all values have settled.
        checked = photo.change(check(i), photo, [photo, page.notes["objects"]], trigger_mode="always_last", **QUIET)
        checked.then(resynced, [page.places, *page.photos, *page.phrases], page.places, **EACH_TIME, **QUIET)


def resynced(places: list[dict], *values: str | None) -> list[dict] | dict:
    """The canvas with the present objects and their names; nothing where it says so already."""
    found = synced(places, list(values[:MAX_OBJECTS]), [phrase or "" for phrase in values[MAX_OBJECTS:]])
    return gr.skip() if found == places else found


def _sentence(page: Page, actions: Actions) -> None:
    def hint(prompt, *phrases):
        actions.studio.wait()
        from ..relation_layouts import missing_phrases

        lost = missing_phrases([phrase for phrase in phrases if (phrase or "").strip()], prompt or "")
        return note(f"The sentence does not mention: {', '.join(lost)}.", "hint") if lost and prompt else ""

    gr.on([c.change for c in (page.prompt, *page.phrases)], hint, [page.prompt, *page.phrases], page.hint,
          trigger_mode="always_last", **QUIET)  # fmt: skip
    gr.on([c.blur for c in page.phrases] + [c.submit for c in page.phrases], resynced,
          [page.places, *page.photos, *page.phrases], page.places, **EACH_TIME, **QUIET)  # fmt: skip

    def given(photos_phrases):
        photos, phrases = photos_phrases[:MAX_OBJECTS], photos_phrases[MAX_OBJECTS:]
        return [(phrase or "").strip() for photo, phrase in zip(photos, phrases) if photo]

    def chosen(name, prompt, filled, places, *values):
        """Fill what the visitor has not written himself."""
        sentence, layout, weight = actions.choice(name, given(values))
        if sentence is None or (prompt or "").strip() not in ("", filled):
            return gr.skip(), gr.skip(), gr.skip(), weight
        return sentence, sentence, arranged(places, layout), weight

    def used(name, places, *values):
        sentence, layout, _ = actions.choice(name, given(values))
        if sentence is None:
            told = (
                "This LoRA brings no sentence for that many objects."
                if name != NO_LORA
                else "Choose a RelationLoRA first."
            )
            return gr.skip(), gr.skip(), gr.skip(), note(told)
        return sentence, sentence, arranged(places, layout), ""

    slots = [*page.photos, *page.phrases]
    page.loras[0].input(chosen, [page.loras[0], page.prompt, page.filled, page.places, *slots],
                        [page.prompt, page.filled, page.places, page.weights[0]], **QUIET)  # fmt: skip
    for lora, weight in zip(page.loras[1:], page.weights[1:]):
        lora.input(lambda name: actions.choice(name, [])[2], lora, weight, **QUIET)
    page.use_template.click(used, [page.loras[0], page.places, *slots],
                            [page.prompt, page.filled, page.places, page.notes["sentence"]], **QUIET)  # fmt: skip
    page.add_lora.click(
        lambda *names: [gr.update(visible=i <= sum(name != NO_LORA for name in names)) for i in range(MAX_LORAS)],
        page.loras, page.lora_rows, **QUIET,
    )  # fmt: skip


def _places(page: Page, actions: Actions) -> None:
    def side_by_side(places):
        actions.studio.wait()
        from ..relation_layouts import side_by_side as columns

        count = sum(place["present"] for place in places)
        return arranged(places, columns(count) if count else None), ""

    def from_lora(places, name):
        _, layout, _ = actions.choice(name, [])
        count = sum(place["present"] for place in places)
        if layout is None or len(layout) != count:
            return gr.skip(), note(
                f"No layout of {count} objects comes with that LoRA. Choose a RelationLoRA that has one."
            )
        return arranged(places, layout), ""

    outputs = [page.places, page.notes["places"]]
    page.side_by_side.click(side_by_side, page.places, outputs, **QUIET)
    page.from_lora.click(from_lora, [page.places, page.loras[0]], outputs, **QUIET)
    page.automatic.click(lambda places: (arranged(places, None), ""), page.places, outputs, **QUIET)
    page.places.input(lambda: "", None, page.notes["places"], **QUIET)
    gr.on([page.width.change, page.height.change], lambda w, h: gr.update(aspect=aspect(w, h)),
          [page.width, page.height], page.places, **QUIET)  # fmt: skip
