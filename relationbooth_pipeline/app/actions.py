"""What the page does with a form: draw, compare, keep, restore. Knows Gradio's updates, not where controls stand."""

import html
import time
from collections.abc import Iterator
from copy import deepcopy
from pathlib import Path
from typing import TYPE_CHECKING

from .drawing import Drawn, Step, draw
from .faults import Fault, located, note, plain
from .form import NO_LORA, Form, form_of
from .places import entry
from .python_lines import python_lines
from .results import Results
from .studio import MAX_OBJECTS, Studio

if TYPE_CHECKING:
    from ..generation.settings import GenerationSettings

BETWEEN_STEPS = 0.25  # seconds: telling the page of one step costs as much time as half a step of the miniature
MAX_HISTORY = 60  # pictures of one session; older ones leave the page


def variants(settings: "GenerationSettings", kind: str) -> list[tuple[str, "GenerationSettings"]]:
    """(label, settings) of the pictures that a comparison shows, from one seed and one layout.

    Raises:
        Fault: it compares LoRAs, and none is chosen.
    """
    if kind == "with and without local tokens":
        changes = [("with local tokens", {"local_tokens": True}), ("without local tokens", {"local_tokens": False})]
    elif not settings.lora:
        raise Fault("sentence", "Choose a RelationLoRA first: this comparison shows what it does.")
    elif kind == "weights 0.5, 0.7 and 1":
        first, *others = settings.lora
        changes = [(f"weight {w:g}", {"lora": [(first[0], w), *others]}) for w in (0.5, 0.7, 1.0)]
    else:
        changes = [("adapter alone", {"lora": []}), ("with RelationLoRA", {})]
    found = []
    for label, change in changes:
        one = deepcopy(settings)
        for name, value in change.items():
            setattr(one, name, value)
        found.append((label, one))
    return found


class Actions:
    """Bound to the studio that draws and the results that keep."""

    def __init__(self, studio: Studio, results: Results):
        self.studio, self.results = studio, results

    def first_form(self) -> Form:
        """Where a new page begins: the examples with the demo's relation, and what of the defaults is known by then."""
        offers, examples = self.studio.offers, self.studio.examples[:2]
        rest = MAX_OBJECTS - len(examples)
        phrases = [phrase for phrase, _ in examples]
        offer = next(
            (o for o in sorted(offers.values(), key=lambda o: o.name != "shaking_hands") if o.sentence(phrases)), None
        )
        places = [entry(phrase, True) for phrase in phrases]
        form = Form(
            photos=[*(self.results.example(file) for _, file in examples), *[None] * rest],
            phrases=[*phrases, *[""] * rest],
            strengths=[1.0] * MAX_OBJECTS,
            places=[*places, *[entry() for _ in range(rest)]],
        )
        if examples and offer is not None:
            form.prompt = f"{offer.sentence(phrases)} in a meadow"
            form.loras[0], form.weights[0] = offer.name, offer.weight
            for place, box in zip(form.places, offer.layout):
                place["box"] = box
        for name, value in self.studio.defaults.items():
            setattr(form, name, value)
        return form

    def draw(self, form: Form, history: list[dict], kind: str | None = None) -> Iterator[dict]:
        """Progress and results under the names of the page's outputs: `status`, `history`, or an area's note.

        Args:
            kind: a comparison, drawn as one sheet; None draws `form.number` pictures.
        """
        yield {"status": note("Waiting for the model.", "hint")}
        labels = None
        try:
            for stage in self.studio.stages():
                yield {"status": note(f"Waiting for the model: {stage} …", "hint")}
            began, told_at = time.monotonic(), 0.0
            for name, value in self.studio.defaults.items():
                if getattr(form, name) is None:
                    setattr(form, name, value)
            request, paths = form.request()
            settings, images = self.studio.settings(request, paths, form.number if kind is None else 1)
            asked = [settings]
            if kind is not None:
                labels, asked = zip(*variants(settings, kind))
            drawn, warnings = [], []
            for event in draw(self.studio, asked, images):
                if isinstance(event, Step):
                    if time.monotonic() - told_at >= BETWEEN_STEPS:
                        yield {"status": progress(event)}
                        told_at = time.monotonic()
                    continue
                drawn.append(event)
                warnings = event.generation.warnings
                if labels is None:
                    history = [self._entry(event, paths), *history][:MAX_HISTORY]
                    yield {"history": history}
            if labels is None:  # the sheets after the pictures, for which people wait
                sheets = [self._with_sheet(kept, one) for kept, one in zip(history, reversed(drawn))]
                history = [*sheets, *history[len(sheets) :]]
            else:
                history = [self._sheet(drawn, labels, paths, kind), *history][:MAX_HISTORY]
        except ValueError as error:
            fault = located(error, form.photos and [p for p in form.photos if p])
            yield {"status": note("Nothing was drawn: see the red line."), fault.area: note(str(fault))}
            return
        told = f"Drawn in {time.monotonic() - began:.1f} s, seed {settings.seed}."
        yield {"history": history, "seed": settings.seed,
               "status": note(told, "done") + "".join(note(plain(w), "hint") for w in warnings)}  # fmt: skip

    def _entry(self, drawn: Drawn, paths: list[str]) -> dict:
        path, settings = self.results.keep(drawn, paths)
        caption = f"{settings['prompt']} (seed {settings['seed']})"
        return {"path": str(path), "sheet": None, "caption": caption, "settings": settings}

    def _with_sheet(self, kept: dict, drawn: Drawn) -> dict:
        settings = kept["settings"]
        sheet = self.results.sheet(drawn.generation, {"result": drawn.picture}, settings, f"{settings['seed']}-sheet")
        return {**kept, "sheet": str(sheet)}

    def _sheet(self, drawn: list[Drawn], labels, paths: list[str], kind: str) -> dict:
        from ..generation.drawing import picture_record

        for path in paths:
            self.results.remember(path)
        told = picture_record(drawn[-1].generation, drawn[-1].picture) | {"compared": kind}
        pictures = {label: one.picture for label, one in zip(labels, drawn)}
        sheet = self.results.sheet(drawn[-1].generation, pictures, told, "comparison")
        return {"path": str(sheet), "sheet": None, "caption": f"{kind} (seed {told['seed']})", "settings": told}

    def one(self, request: dict, paths: list[str]) -> Iterator[Step | tuple[Path, dict]]:
        """One picture for a program: steps, then (file, settings). Raises ValueErrors in the words of `generate`."""
        self.studio.wait()
        settings, images = self.studio.settings(request, paths)
        for event in draw(self.studio, [settings], images):
            yield event if isinstance(event, Step) else self.results.keep(event, paths)

    def restore(self, path: str) -> tuple[Form, str]:
        """(form that draws the picture again, what could not be set, in one sentence or "").

        Raises:
            ValueError: no picture of this package.
        """
        self.studio.wait()
        settings, digests = self.results.read(path)
        found = [self.results.found(reference) for reference in settings.image]
        if len(found) > MAX_OBJECTS:
            raise ValueError(f"this picture has {len(found)} objects, and the page at most {MAX_OBJECTS}.")
        form, lost = form_of(settings, found, self.studio.offers, self.studio.defaults)
        for (name, _), digest in zip(settings.lora, digests):
            own = self.studio.lora_sha256(name) if name in form.loras and name in self.studio.offers else None
            if digest and own and digest != own:
                lost.append(f"the LoRA {name} as it was (another file has its name here)")
        for name, own in self.studio.own_names.items():
            if getattr(settings, name) != own:
                lost.append(f"the {name.replace('_', ' ')} {getattr(settings, name)} (this page runs {own})")
        return form, f"Missing: {'; '.join(lost)}." if lost else ""

    def told(self, kept: dict | None) -> tuple[list[str], str]:
        """Files to download and Python lines of one entry of the session."""
        if not kept:
            return [], ""
        return [file for file in (kept["path"], kept["sheet"]) if file], python_lines(kept["settings"])

    def choice(self, name: str, phrases: list[str]) -> tuple[str | None, list | None, float]:
        """(sentence, layout, weight) that a LoRA of this name offers for these phrases."""
        offer = self.studio.offers.get(name)
        if name == NO_LORA or offer is None:
            return None, None, 1.0
        return offer.sentence(phrases), offer.layout, offer.weight


def progress(step: Step) -> str:
    """HTML of a progress bar with the preview."""
    picture = f'<img src="{html.escape(step.preview())}" alt="Preview of the picture">' if step.preview else ""
    return (
        f'<div class="rb-progress"><progress max="{step.total}" value="{step.done}" aria-label="Drawing"></progress>'
        f"<span>step {step.done} of {step.total}</span>{picture}</div>"
    )
