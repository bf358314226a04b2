"""Faults in the page's words, beside the control that they speak of."""

import html
import re
from collections.abc import Iterable

# Part of the page → the settings that are set there, under the names of flags and fields; the first match wins.
AREAS = {
    "objects": ("image", "phrase", "photo"),
    "places": ("box", "boxes", "mask", "masks", "layout", "automatic layout"),
    "sentence": ("prompt", "lora"),
    "more": ("seed", "height", "width", "steps", "guidance_scale", "guidance_rescale", "image_prompt_scale",
             "negative_prompt", "local_tokens"),
}  # fmt: skip


class Fault(ValueError):
    """A sentence for one part of the page."""

    def __init__(self, area: str, sentence: str):
        super().__init__(sentence)
        self.area = area


def located(error: Exception, files: Iterable[str] = ()) -> Fault:
    """The fault with its area, without flags and without paths of the server.

    Args:
        files: paths of uploads that the sentence may name; their own names take their place.
    """
    if isinstance(error, Fault):
        return error
    sentence = str(error)
    for i, path in enumerate(files):
        sentence = sentence.replace(str(path), f"photo {i + 1}")
    sentence = plain(sentence)
    first = re.findall(r"`([a-z_]+)`", sentence)
    words = [*first, *(word for word in ("photo", "automatic layout") if word in sentence)]
    for word in words:
        for area, names in AREAS.items():
            if word in names:
                return Fault(area, sentence)
    return Fault("more", sentence)


def plain(sentence: str) -> str:
    """Options of the command line as names of settings: `--image-prompt-scale` → `image_prompt_scale`."""
    return re.sub(r"--([a-z][a-z-]*)", lambda found: found[1].replace("-", "_"), sentence)


def note(sentence: str, kind: str = "fault") -> str:
    """HTML of a sentence; user text in it stays text. Faults are read out at once, hints when there is time."""
    if not sentence:
        return ""
    role = 'role="alert"' if kind == "fault" else 'role="status"'
    return f'<p class="rb-note rb-{kind}" {role}>{html.escape(sentence)}</p>'
