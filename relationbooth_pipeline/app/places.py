"""The canvas on which each object gets its place: a box, drawn or typed by keys, or a painted mask."""

from pathlib import Path

import gradio as gr

from .studio import MAX_OBJECTS

_HERE = Path(__file__).parent


def entry(label: str = "", present: bool = False, box: list[float] | None = None, mask: str | None = None) -> dict:
    """What the canvas knows of one object slot; `box` XYXY in [0, 1], `mask` a PNG data URL."""
    return {"label": label, "present": present, "box": box, "mask": mask}


class Places(gr.HTML):
    """One entry per object slot (see `entry`); the event `input` comes after every gesture.

    Args:
        aspect: of the picture, as CSS writes it: "1024 / 1024".
    """

    def __init__(self, value: list[dict] | None = None, *, aspect: str = "1 / 1", **kwargs):
        template, css, script = (
            (_HERE / f"places.{kind}").read_text(encoding="utf-8") for kind in ("html", "css", "js")
        )
        super().__init__(
            value=value or [], html_template=template, css_template=css, js_on_load=script, aspect=aspect,
            apply_default_css=False, **kwargs,
        )  # fmt: skip

    def preprocess(self, payload: object) -> list[dict]:
        """The browser is not trusted: what comes in is checked like a file.

        Raises:
            gr.Error: not a list of entries, too many, or a box or mask that is none.
        """
        if not isinstance(payload, list) or len(payload) > MAX_OBJECTS:
            raise gr.Error(f"places must be a list of at most {MAX_OBJECTS} objects.", print_exception=False)
        return [self._checked(given) for given in payload]

    @staticmethod
    def _checked(given) -> dict:
        from ..generation.masks import DATA_URL, MAX_MASK_BYTES  # late: it brings torch, and the page opens before

        given = given if isinstance(given, dict) else {}
        box, mask = given.get("box"), given.get("mask")
        if box is not None:
            numbers = isinstance(box, list) and len(box) == 4 and all(type(v) in (int, float) for v in box)
            if not numbers or not (0 <= box[0] < box[2] <= 1 and 0 <= box[1] < box[3] <= 1):
                raise gr.Error("a box must be four numbers x0 < x1, y0 < y1 in [0, 1].", print_exception=False)
            box = [float(value) for value in box]
        if mask is not None and not (
            isinstance(mask, str) and mask.startswith(DATA_URL) and len(mask) <= MAX_MASK_BYTES
        ):
            raise gr.Error("a painted place must be a small PNG data URL.", print_exception=False)
        return entry(str(given.get("label") or "")[:200], bool(given.get("present")), box, mask)

    def postprocess(self, value: list[dict] | None) -> list[dict]:
        return value or []

    def api_info(self) -> dict:
        return {"type": "array", "items": {"type": "object", "properties": {"box": {"type": "array"}}}}

    def example_payload(self) -> list[dict]:
        return [entry("cat", True, [0.0, 0.1, 0.5, 0.9])]

    def example_value(self) -> list[dict]:
        return self.example_payload()
