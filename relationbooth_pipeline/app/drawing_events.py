"""What draw, cancel, compare, gallery and restoring do, and the same drawing as an interface for programs."""

import gradio as gr

from .actions import Actions
from .faults import located, note
from .page import Page
from .wiring import QUIET, everything

MODEL = {"concurrency_limit": 1, "concurrency_id": "model"}  # one picture at a time, whoever asks
AREAS = ("objects", "sentence", "places", "more")


def wire_drawing(page: Page, actions: Actions) -> None:
    """Attach the events of everything from drawing on."""
    _drawing(page, actions)
    _keeping(page, actions)
    _interface(actions)


def _drawing(page: Page, actions: Actions) -> None:
    told = [page.status, page.history, page.chosen, page.gallery, page.files, page.python, page.seed]
    buttons = [page.draw, page.compare]
    outputs = [*told, *(page.notes[area] for area in AREAS), *buttons]

    def shown(update: dict, form) -> dict:
        found = {page.notes[area]: update[area] for area in AREAS if area in update}
        if "status" in update:
            found[page.status] = update["status"]
        if "history" in update:
            found |= _listed(page, actions, update["history"])
        if "seed" in update and form.random_seed:
            found[page.seed] = update["seed"]
        return found

    def run(compared: bool):
        def drawing(data):
            form = page.form(data)
            # Off until it ends: Gradio's own guard against a second click stays on for a while after a cancellation.
            yield {page.notes[area]: "" for area in AREAS} | {
                button: gr.update(interactive=False) for button in buttons
            }
            kind = data[page.comparison] if compared else None
            for update in actions.draw(form, data[page.history], kind):
                yield shown(update, form)

        return drawing

    inputs = {*page.fields(), page.history, page.comparison}
    options = {**MODEL, "api_visibility": "private", "show_progress_on": page.status, "trigger_mode": "multiple"}
    jobs = [
        button.click(run(compared), inputs, outputs, **options)
        for button, compared in ((page.draw, False), (page.compare, True))
    ]
    for job in jobs:
        job.then(lambda: [gr.update(interactive=True)] * 2, None, buttons, queue=False, **QUIET)

    def cancelled():
        return note("Cancelled.", "done"), *[gr.update(interactive=True)] * 2

    # Told after the job has ended for the page: a step that was on its way would overwrite it.
    stopped = page.cancel.click(None, None, None, cancels=jobs, queue=False, **QUIET)
    stopped.then(cancelled, None, [page.status, *buttons], queue=False, **QUIET)


def _listed(page: Page, actions: Actions, history: list[dict]) -> dict:
    """Component → value for a session whose newest picture has just been kept."""
    files, lines = actions.told(history[0] if history else None)
    pictures = [(kept["path"], kept["caption"]) for kept in history]
    return {page.history: history, page.chosen: 0, page.gallery: gr.update(value=pictures, selected_index=0),
            page.files: files, page.python: lines}  # fmt: skip


def _keeping(page: Page, actions: Actions) -> None:
    def select(history, event: gr.SelectData):
        index = event.index if isinstance(event.index, int) and 0 <= event.index < len(history) else 0
        files, lines = actions.told(history[index] if history else None)
        return index, files, lines

    page.gallery.select(select, page.history, [page.chosen, page.files, page.python], **QUIET)

    def restore(path):
        if not path:
            return {page.notes["restore"]: ""}
        try:
            form, lost = actions.restore(path)
        except ValueError as error:
            return {page.restore: None, page.notes["restore"]: note(str(error).replace(str(path), "this file"))}
        told = note(lost, "hint") if lost else note("Everything of this picture is back.", "done")
        shown = max(1, sum(bool(phrase or photo) for phrase, photo in zip(form.phrases, form.photos)))
        # The file leaves the box, so that the same picture can be dropped again.
        return {**page.show(form, shown), page.filled: form.prompt, page.restore: None, page.notes["restore"]: told}

    outputs = [*everything(page), page.filled, page.restore, page.notes["restore"]]
    page.restore.upload(restore, page.restore, outputs, **QUIET)


def _interface(actions: Actions) -> None:
    photos = gr.File(file_count="multiple", type="filepath", visible=False, label="photos")
    settings = gr.JSON(visible=False, label="settings")
    picture, told = gr.File(visible=False, label="picture"), gr.JSON(visible=False, label="kept settings")

    def draw(photos: list[str] | None, settings: dict):
        """Draw one picture: photos, and settings under the names of `relationbooth generate`."""
        try:
            for event in actions.one(settings, photos or []):
                if isinstance(event, tuple):
                    yield str(event[0]), event[1]
                else:
                    yield None, {"step": event.done, "steps": event.total}
        except ValueError as error:
            raise gr.Error(str(located(error, photos or [])), print_exception=False) from error

    gr.Button(visible=False).click(draw, [photos, settings], [picture, told], api_name="draw", **MODEL)
