"""The page's controls and where they stand; what they do is in `wiring`."""

from dataclasses import dataclass, field
from pathlib import Path

import gradio as gr

from .form import NO_LORA, Form
from .places import Places, entry
from .studio import MAX_LORAS, MAX_OBJECTS, MOST, MOST_PICTURES

COMPARISONS = ("without and with the RelationLoRAs", "weights 0.5, 0.7 and 1", "with and without local tokens")
CSS = """
.rb-title h1 { font-size: 1.5rem; margin: 0; } .rb-title p { margin: .2rem 0 0; }
.rb-note { margin: .2rem 0; padding: 6px 10px; border-radius: 6px; border-left: 4px solid; font-size: 14px;
  overflow-wrap: anywhere; }
.rb-fault { border-color: #d93025; background: color-mix(in srgb, #d93025 12%, transparent); }
.rb-hint, .rb-done { border-color: #b06000; background: color-mix(in srgb, #e37400 10%, transparent); }
.rb-done { border-color: #188038; background: color-mix(in srgb, #188038 10%, transparent); }
.rb-progress { display: flex; gap: 12px; align-items: center; flex-wrap: wrap; }
.rb-progress progress { flex: 1; min-width: 120px; accent-color: var(--color-accent); }
.rb-progress img { width: 128px; border-radius: 6px; }
.rb-small { min-width: 0 !important; }
.rb-object { border-top: 4px solid var(--rb-color) !important; }
.rb-objects { display: grid !important; grid-template-columns: repeat(auto-fill, minmax(210px, 1fr)); gap: 12px; }
input[type=range]:focus-visible, input[role=combobox]:focus-visible, .rb-object button:focus-visible {
  outline: 2px solid var(--color-accent); outline-offset: 2px; }
.html-container:has(> .prose:empty) { display: none; }
""" + "".join(
    f"#object{i} {{ --rb-color: {color}; }}"
    for i, color in enumerate(("#d93025", "#1a73e8", "#188038", "#b06000", "#9334e6", "#007b83"))
)  # fmt: skip


SCRIPT = (Path(__file__).parent / "page.js").read_text(encoding="utf-8")


@dataclass
class Page:
    """All components that events read or write; lists have one entry per slot."""

    groups: list = field(default_factory=list)
    photos: list = field(default_factory=list)
    phrases: list = field(default_factory=list)
    strengths: list = field(default_factory=list)
    ups: list = field(default_factory=list)
    removes: list = field(default_factory=list)
    lora_rows: list = field(default_factory=list)
    loras: list = field(default_factory=list)
    weights: list = field(default_factory=list)
    notes: dict = field(default_factory=dict)  # area → HTML, the areas of `faults`

    def fields(self) -> dict:
        """Component → field of `Form`, slot number or None."""
        single = ("places", "prompt", "negative_prompt", "seed", "random_seed", "number", "width", "height", "steps",
                  "guidance_scale", "guidance_rescale", "image_prompt_scale", "local_tokens")  # fmt: skip
        found = {getattr(self, name): (name, None) for name in single}
        for name in ("photos", "phrases", "strengths", "loras", "weights"):
            found |= {component: (name, i) for i, component in enumerate(getattr(self, name))}
        return found

    def form(self, data: dict) -> Form:
        """What the controls say; `data` as Gradio gives a set of inputs."""
        values: dict = {}
        for component, (name, slot) in self.fields().items():
            if slot is None:
                values[name] = data[component]
            else:
                values.setdefault(name, []).append(data[component])
        for name in ("phrases", "loras"):
            values[name] = [value or "" for value in values[name]]
        return Form(**{**values, "prompt": values["prompt"] or "", "negative_prompt": values["negative_prompt"] or ""})

    def show(self, form: Form, shown: int, **only) -> dict:
        """Component → update that puts `form` on the page, with `shown` object slots."""
        updates = {}
        for component, (name, slot) in self.fields().items():
            value = getattr(form, name)
            updates[component] = gr.update(value=value if slot is None else value[slot])
        used = max([1, *(i + 1 for i, name in enumerate(form.loras) if name != NO_LORA)])
        updates |= {group: gr.update(visible=i < shown) for i, group in enumerate(self.groups)}
        updates |= {row: gr.update(visible=i < used) for i, row in enumerate(self.lora_rows)}
        updates[self.places] = gr.update(value=form.places, aspect=aspect(form.width, form.height))
        updates[self.shown] = shown
        return updates


def aspect(width: float | None, height: float | None) -> str:
    """The board's shape, as CSS writes it."""
    return f"{int(width)} / {int(height)}" if width and height else "1 / 1"


def lay_out() -> Page:
    """Build all components inside an open `gr.Blocks`."""
    page = Page()
    gr.HTML(
        "<h1>RelationBooth</h1><p>Photos of your objects, a sentence that says what they do, and a place for each.</p>",
        elem_classes="rb-title",
    )
    page.stage = gr.HTML(elem_id="stage")
    with gr.Row():
        with gr.Column(scale=6, min_width=320):
            _objects(page)
            _sentence(page)
            _more(page)
            _restoring(page)
        with gr.Column(scale=5, min_width=320):
            _places(page)
            _drawing(page)
            _comparison(page)
    _kept(page)
    page.shown, page.history, page.chosen = gr.State(2), gr.State([]), gr.State(0)
    page.filled = gr.State("")
    page.defaults = gr.JSON([], visible="hidden", label="defaults")  # of the loaded model, in the order of NUMBERS
    return page


def _objects(page: Page) -> None:
    gr.Markdown("## Objects")
    with gr.Row(elem_classes="rb-objects"):
        for i in range(MAX_OBJECTS):
            with gr.Column(visible=i < 2, elem_id=f"object{i}", elem_classes="rb-object", min_width=200) as group:
                photo = gr.Image(
                    type="filepath", image_mode=None, sources=["upload", "webcam", "clipboard"], height=200,
                    label=f"Photo {i + 1}", elem_id=f"photo{i}", buttons=[],
                )  # fmt: skip
                phrase = gr.Textbox(
                    label=f"Phrase {i + 1}",
                    placeholder="its noun in the sentence",
                    max_length=200,
                    elem_id=f"phrase{i}",
                    max_lines=1,
                )
                strength = gr.Slider(0, 2, 1, step=0.05, label=f"Strength {i + 1}", elem_id=f"strength{i}")
                with gr.Row():
                    up = gr.Button(
                        f"Swap {i} and {i + 1}", size="sm", elem_classes="rb-small", elem_id=f"up{i}", visible=i > 0
                    )
                    remove = gr.Button(f"Remove {i + 1}", size="sm", elem_classes="rb-small", elem_id=f"remove{i}")
            for name, component in zip(("groups", "photos", "phrases", "strengths", "ups", "removes"),
                                       (group, photo, phrase, strength, up, remove)):  # fmt: skip
                getattr(page, name).append(component)
    page.add = gr.Button("Add an object", size="sm", elem_id="add")
    page.notes["objects"] = gr.HTML(elem_id="note-objects")


def _sentence(page: Page) -> None:
    gr.Markdown("## Sentence")
    page.prompt = gr.Textbox(
        label="Sentence", lines=2, elem_id="prompt", placeholder="a cat is shaking hands with a bear in a meadow"
    )
    page.hint = gr.HTML(elem_id="hint")
    for i in range(MAX_LORAS):
        with gr.Row(visible=i == 0) as row:
            lora = gr.Dropdown(
                [NO_LORA], value=NO_LORA, label="RelationLoRA" if i == 0 else f"LoRA {i + 1}", elem_id=f"lora{i}"
            )
            weight = gr.Slider(
                0, 2, 1, step=0.05, label="Weight" if i == 0 else f"Weight {i + 1}", elem_id=f"weight{i}"
            )
        page.lora_rows.append(row)
        page.loras.append(lora)
        page.weights.append(weight)
    with gr.Row():
        page.use_template = gr.Button("Use its sentence and layout", size="sm", elem_id="use-template")
        page.add_lora = gr.Button("Another LoRA", size="sm", elem_id="add-lora")
    page.notes["sentence"] = gr.HTML(elem_id="note-sentence")


def _places(page: Page) -> None:
    gr.Markdown("## Places")
    page.places = Places([entry() for _ in range(MAX_OBJECTS)], elem_id="places", label="Places")
    with gr.Row():
        page.side_by_side = gr.Button("Side by side", size="sm", elem_classes="rb-small", elem_id="side-by-side")
        page.from_lora = gr.Button("From the RelationLoRA", size="sm", elem_classes="rb-small", elem_id="from-lora")
        page.automatic = gr.Button("Automatic", size="sm", elem_classes="rb-small", elem_id="automatic")
    page.notes["places"] = gr.HTML(elem_id="note-places")


def _drawing(page: Page) -> None:
    with gr.Row():
        page.draw = gr.Button("Draw", variant="primary", elem_id="draw", interactive=False, scale=3)
        page.cancel = gr.Button("Cancel", elem_id="cancel", scale=1, min_width=90)
    page.status = gr.HTML(elem_id="status", min_height=40)
    page.gallery = gr.Gallery(
        format="png", preview=True, columns=4, height=420, object_fit="contain",
        label="Pictures drawn so far", elem_id="gallery",
        interactive=False, buttons=["download", "fullscreen"],
    )  # fmt: skip


def _comparison(page: Page) -> None:
    with gr.Row():
        page.comparison = gr.Dropdown(
            list(COMPARISONS),
            value=COMPARISONS[0],
            label="What to compare, from one seed",
            elem_id="comparison",
            scale=3,
        )
        page.compare = gr.Button("Compare", elem_id="compare", interactive=False, min_width=110, scale=1)


def _more(page: Page) -> None:
    with gr.Accordion("More settings", open=False, elem_id="more"):
        with gr.Row():
            page.seed = gr.Number(0, label="Seed", precision=0, minimum=0, elem_id="seed")
            page.random_seed = gr.Checkbox(False, label="New seed for each drawing", elem_id="random-seed")
            page.number = gr.Number(
                1, label="Pictures", precision=0, minimum=1, maximum=MOST_PICTURES, elem_id="number"
            )
        with gr.Row():
            page.width = gr.Number(label="Width", precision=0, step=8, maximum=MOST["width"], elem_id="width")
            page.height = gr.Number(label="Height", precision=0, step=8, maximum=MOST["height"], elem_id="height")
            page.steps = gr.Number(label="Steps", precision=0, minimum=1, maximum=MOST["steps"], elem_id="steps")
        with gr.Row():
            page.guidance_scale = gr.Number(label="Guidance", elem_id="guidance-scale", step=0.5)
            page.guidance_rescale = gr.Number(label="Guidance rescale", elem_id="guidance-rescale", step=0.1)
            page.image_prompt_scale = gr.Number(
                label="Strength of all photos (γ)", elem_id="image-prompt-scale", step=0.1
            )
        page.local_tokens = gr.Checkbox(True, label="Local tokens (details of the photos)", elem_id="local-tokens")
        page.negative_prompt = gr.Textbox(label="Not in the picture", elem_id="negative-prompt")
    page.notes["more"] = gr.HTML(elem_id="note-more")


def _restoring(page: Page) -> None:
    page.restore = gr.File(
        label="Drop a picture made here: everything returns", file_types=[".png"], elem_id="restore", height=140
    )
    page.notes["restore"] = gr.HTML(elem_id="note-restore")


def _kept(page: Page) -> None:
    with gr.Row():
        page.files = gr.Files(label="Chosen picture and its sheet", elem_id="files", interactive=False)
        page.python = gr.Code(
            label="The chosen picture in Python",
            language="python",
            elem_id="python",
            interactive=False,
            wrap_lines=True,
        )
