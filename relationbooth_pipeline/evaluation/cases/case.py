"""A case: one prompt about one or more objects, their photos, and what can be wrong with it."""

import json
import re
from dataclasses import asdict, dataclass, fields
from pathlib import Path

from ...relation_images import short_repr
from ...relation_layouts import phrase_places
from ...relation_regions import check_box

_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,119}")  # a folder's name on every system


@dataclass(frozen=True)
class Case:
    """One prompt about one or more objects.

    Attributes:
        id: names the case's pictures: letters, digits and `. _ -`, unique even where case does not count.
        prompt: the sentence. phrases: the noun of each object as it stands in the prompt.
        references: all photos of each object, which identity is compared with.
        generate_with: for each object, which of its photos the system gets.
        bench: where the case comes from.
        objects: a name for each object (per-subject systems find their files by it); empty: the photos' folders.
        predicate: words of the relation; None: found by rule. boxes: XYXY in [0, 1] for each object, or None.
        questions: yes/no questions about the interaction, when the bench brings its own.
    """

    id: str
    prompt: str
    phrases: tuple[str, ...]
    references: tuple[tuple[str, ...], ...]
    generate_with: tuple[int, ...]
    bench: str
    objects: tuple[str, ...] = ()
    predicate: str | None = None
    boxes: tuple[tuple[float, ...], ...] | None = None
    questions: tuple[str, ...] = ()

    @property
    def object_names(self) -> tuple[str, ...]:
        return self.objects or tuple(Path(photos[0]).parent.name for photos in self.references)

    def line(self) -> str:
        """The case as a line of JSON; what is empty is left out."""
        kept = {name: value for name, value in asdict(self).items() if value not in (None, ())}
        return json.dumps(kept, ensure_ascii=False)

    def faults(self) -> list[str]:
        """What is wrong with the case itself, photos aside."""
        found, count = [], len(self.phrases)
        if not _ID.fullmatch(self.id):
            found.append(f"`id` must be letters, digits, '.', '_' or '-' (at most 120), got {self.id!r}")
        if not self.phrases:
            found.append("`phrases` is empty; name at least one object")
        for name in ("references", "generate_with", "objects", "boxes"):
            value = getattr(self, name)
            if value and len(value) != count or name in ("references", "generate_with") and not value and count:
                found.append(f"`{name}` must have an entry for each of the {count} phrases, got {len(value)}")
        for phrase, place in zip(self.phrases, phrase_places(self.phrases, self.prompt)):
            if place is None:
                found.append(
                    f"the phrase {phrase!r} does not stand in the prompt {self.prompt!r} at a place of its own"
                )
        for number, photos in enumerate(self.references):
            if not photos:
                found.append(f"object {number} has no photo in `references`")
            elif number < len(self.generate_with) and not 0 <= self.generate_with[number] < len(photos):
                chosen = self.generate_with[number]
                found.append(f"`generate_with` names photo {chosen} of object {number}, which has {len(photos)}")
        for box in self.boxes or ():
            try:
                check_box([float(value) for value in box])  # NumPy knows no whole number beyond 64 bits
            except ValueError as error:
                found.append(str(error))
            except OverflowError:
                found.append(f"`boxes` must be XYXY in [0, 1], got {short_repr(list(box))}.")
        return found


def case_from(line: dict) -> Case:
    """A case from its JSON object.

    Raises:
        ValueError: a field is missing, unknown or of another kind.
    """
    known = {field.name: field for field in fields(Case)}
    if not isinstance(line, dict):
        raise ValueError(f"a case must be a JSON object, got {type(line).__name__}")
    if unknown := sorted(set(line) - set(known)):
        raise ValueError(f"unknown field(s) {', '.join(unknown)}; a case has {', '.join(known)}")
    required = ("id", "prompt", "phrases", "references", "generate_with", "bench")
    if missing := [name for name in required if name not in line]:
        raise ValueError(f"missing field(s) {', '.join(missing)}")
    for name in ("id", "prompt", "bench", "predicate"):
        if not isinstance(line.get(name, ""), str):
            raise ValueError(f"`{name}` must be a text, got {line[name]!r}")
    for name in ("phrases", "objects", "questions"):
        if not _is_list(line.get(name, []), str):
            raise ValueError(f"`{name}` must be a list of texts, got {line[name]!r}")
    if not isinstance(line["references"], list) or not all(_is_list(photos, str) for photos in line["references"]):
        raise ValueError("`references` must be a list with a list of photos for each object")
    if not _is_list(line["generate_with"], int):
        raise ValueError(f"`generate_with` must be a list of photo numbers, got {line['generate_with']!r}")
    boxes = line.get("boxes")
    if boxes is not None and not (isinstance(boxes, list) and all(_is_list(box, (int, float)) for box in boxes)):
        raise ValueError(f"`boxes` must be a list of [x0, y0, x1, y1], got {boxes!r}")
    return Case(**{name: _frozen(value) for name, value in line.items()})


def _is_list(value, kind) -> bool:
    return isinstance(value, list) and all(isinstance(v, kind) and not isinstance(v, bool) for v in value)


def _frozen(value):
    return tuple(_frozen(item) for item in value) if isinstance(value, list) else value
