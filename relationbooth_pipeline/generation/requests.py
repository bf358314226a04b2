"""Settings from JSON that somebody else wrote: a line of a batch, a picture's own chunk, a client of the page."""

import sys
from collections.abc import Callable, Iterable
from dataclasses import fields

from .settings import GenerationSettings


def _number(value) -> bool:
    """Whether it is a finite number; JSON has whole ones that no float holds."""
    return type(value) in (int, float) and abs(value) <= sys.float_info.max


def _list_of(check: Callable) -> Callable:
    return lambda value: isinstance(value, list) and all(map(check, value))


def _text(value) -> bool:
    return isinstance(value, str)


def _reference(value) -> bool:
    """A path, or what a written picture tells of a reference: its name and the SHA-256 of its file."""
    return _text(value) or (
        isinstance(value, dict) and set(value) == {"name", "sha256"} and all(map(_text, value.values()))
    )


def _lora(value) -> bool:
    return isinstance(value, list) and len(value) == 2 and _text(value[0]) and (value[1] is None or _number(value[1]))


# Field → (what it must be, in words; its check). All but the prompt may be null where the field's default is None.
_KINDS = {
    "a text": (_text, "prompt model adapter adapter_weight_name image_encoder local_image_encoder negative_prompt "
                      "device dtype offload"),
    "a whole number": (lambda value: type(value) is int, "seed height width steps"),
    "a number": (_number, "guidance_scale guidance_rescale"),
    "a number, or one per object": (lambda v: _number(v) or _list_of(_number)(v), "image_prompt_scale"),
    "true or false": (lambda value: isinstance(value, bool), "automatic_layout local_tokens"),
    "a list of texts": (_list_of(_text), "phrase"),
    "a list of paths": (_list_of(_reference), "image"),
    "a list of [source, weight]": (_list_of(_lora), "lora"),
    "a list of [x0, y0, x1, y1]": (_list_of(_list_of(_number)), "box"),
    "a list of masks or null": (_list_of(lambda value: value is None or _reference(value)), "mask"),
}  # fmt: skip
_CHECKS = {name: (words, check) for words, (check, names) in _KINDS.items() for name in names.split()}


def settings_from(
    values: object, allowed: Iterable[str] | None = None, ignored: Iterable[str] = ()
) -> GenerationSettings:
    """`GenerationSettings` from decoded JSON, each value of the right type; their ranges are for `checked()`.

    Args:
        allowed: names that may be given; None: all fields.
        ignored: further names that are passed over.
    Raises:
        ValueError: no JSON object, no prompt, an unknown or a forbidden name, or a value of another type.
    """
    if not isinstance(values, dict):
        raise ValueError(f"settings must be a JSON object, got {type(values).__name__}.")
    allowed = [field.name for field in fields(GenerationSettings)] if allowed is None else list(allowed)
    if unknown := sorted(set(map(str, values)) - set(allowed) - set(ignored)):
        raise ValueError(
            f"settings do not know {', '.join(f'`{name}`' for name in unknown)}. Known: {', '.join(allowed)}."
        )
    given = {name: values[name] for name in allowed if values.get(name) is not None}
    if "prompt" not in given:
        raise ValueError("settings need a `prompt`, got none.")
    for name, value in given.items():
        words, check = _CHECKS[name]
        if not check(value):
            raise ValueError(f"`{name}` must be {words}, got {str(value)[:80]!r}.")
    if "lora" in given:
        given["lora"] = [tuple(entry) for entry in given["lora"]]
    return GenerationSettings(**given)
