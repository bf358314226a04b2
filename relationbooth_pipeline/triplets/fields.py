"""Fields of a JSON record, each of the kind it must have; what is missing or of another kind is a fault by name."""

import json
from pathlib import Path
from typing import Any

import torch

from ..relation_images import short_repr


def read_json(text: str) -> Any:
    """Value of a JSON text.

    Raises:
        ValueError: no JSON, or nested too deeply to be read.
    """
    try:
        return json.loads(text)
    except (json.JSONDecodeError, RecursionError) as error:
        raise ValueError(f"is no JSON ({error}).") from error


def read_text(file: Path) -> str:
    """UTF-8 text of a file, without a byte order mark.

    Raises:
        ValueError: another encoding.
    """
    return as_text(file.read_bytes(), file.name)


def as_text(data: bytes, name: str) -> str:
    """As `read_text`, of bytes that were read already; `name` is their file's."""
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValueError(f"`{name}` is no UTF-8 text ({error}). Save it as UTF-8.") from error


class Record:
    """A JSON object whose fields are asked for by kind.

    Every question returns the field's value, or None after adding a line to `faults`.

    Attributes:
        faults: one line each.
    """

    def __init__(self, values: Any):
        self.faults: list[str] = []
        self._asked: set[str] = set()
        self._values = values if isinstance(values, dict) else None
        if self._values is None:
            self.faults.append(f"must be a JSON object of fields, got {short_repr(values)}.")

    def __contains__(self, name: str) -> bool:
        self._asked.add(name)
        return self._values is not None and name in self._values

    def others(self) -> dict[str, Any]:
        """The fields that nobody has asked for."""
        return {name: value for name, value in (self._values or {}).items() if name not in self._asked}

    def text(self, name: str, default: str | None = None) -> str | None:
        """A text that is not blank; `default` when the field is missing."""
        if default is not None and name not in self:
            return default
        return self._checked(name, "a text that is not blank", _is_text)

    def texts(self, name: str, optional: bool = False) -> list[str] | None:
        """A list of such texts; `optional`: null and a missing field are None without a fault."""
        if optional and (name not in self or self._values[name] is None):
            return None
        return self._checked(name, "a list of texts", lambda v: isinstance(v, list) and all(map(_is_text, v)))

    def first_text(self, name: str) -> str | None:
        """The first of a list of texts."""
        texts = self._checked(name, "a list of one text", lambda v: isinstance(v, list) and v and all(map(_is_text, v)))
        return None if texts is None else texts[0]

    def numbers(self, name: str, kind: str, depth: int) -> torch.Tensor | None:
        """float32 of a list nested `depth` times with rows of equal length; `kind` says so in words."""
        value = self._checked(name, kind, lambda v: _sizes(v, depth) is not None)
        return None if value is None else torch.tensor(value, dtype=torch.float32).reshape(_sizes(value, depth))

    def _checked(self, name: str, kind: str, holds) -> Any:
        if name not in self:
            if self._values is not None:
                self.faults.append(f"lacks '{name}'.")
            return None
        value = self._values[name]
        if not holds(value):
            self.faults.append(f"`{name}` must be {kind}, got {'null' if value is None else short_repr(value)}.")
            return None
        return value


def _is_text(value: Any) -> bool:
    return isinstance(value, str) and bool(value.strip())


def _sizes(value: Any, depth: int) -> tuple[int, ...] | None:
    """Lengths of nested lists of finite numbers; None when their kind, depth or lengths are not alike."""
    if depth == 0:
        number = isinstance(value, (int, float)) and not isinstance(value, bool)
        return () if number and abs(value) < 1e30 else None  # fits into float32, and is not NaN
    if not isinstance(value, list):
        return None
    rows = {_sizes(row, depth - 1) for row in value}
    if not rows:
        return (0,) * depth
    return (len(value), *rows.pop()) if len(rows) == 1 and None not in rows else None
