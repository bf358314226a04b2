"""What shall be drawn: a relation's sentence, who does it, how often; always the same prompts and seeds."""

import hashlib
import json
import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from ..keys import refuse_keys

_SLOT = re.compile(r"\{(\d+)\}")
_ARTICLE = re.compile(r"\b([Aa])n?(\s+)\{(\d+)\}")
MAX_SEED, MAX_COUNT, MAX_SIDE = 2**32 - 1, 10_000, 4096


@dataclass(frozen=True)
class Planned:
    """One candidate before anything is drawn: its id, number, phrases and the sentence of its target."""

    id: str
    number: int
    phrases: tuple[str, ...]
    prompt: str


@dataclass(frozen=True)
class Plan:
    """A relation to draw.

    Attributes:
        relation: its name, for files: "shaking_hands".
        template: sentence with a slot for each object: "a {0} is shaking hands with a {1}". "a" before a slot becomes
            "an" where the phrase begins with a vowel.
        predicate: the relation's words in it: "shaking hands"; empty: as `sentence_predicate` finds them.
        objects: who does it: phrases, one for each slot; each such group is drawn `count` times.
        count: candidates of each group.
        scenes: where it happens, said after the sentence, by turns: "in a meadow".
        same_templates: sentences about one object alone, with {0}, by turns; empty: the generator's own. A scene
            follows, another than the target's where there are several.
        size: (width, height) in pixels, multiples of 8; None: the generator's own.
        seed: of all seeds.
    """

    relation: str
    template: str
    objects: tuple[tuple[str, ...], ...]
    predicate: str = ""
    count: int = 4
    scenes: tuple[str, ...] = ()
    same_templates: tuple[str, ...] = ()
    size: tuple[int, int] | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        refuse_keys("plan", asdict(self))
        if not re.fullmatch(r"[a-z0-9][a-z0-9_]{0,59}", self.relation):
            raise ValueError(
                f"`relation` must be small letters, digits and '_', as a file's name, got {self.relation!r}."
            )
        _check_whole("count", self.count, 1, MAX_COUNT)
        _check_whole("seed", self.seed, 0, MAX_SEED)
        for side in self.size or ():
            _check_whole("size", side, 8, MAX_SIDE)
            if side % 8:
                raise ValueError(f"`size` must be multiples of 8, got {self.size}.")
        if not self.objects:
            raise ValueError("`objects` must name at least one group, such as [cat, bear].")
        for group in self.objects:
            check_slots("template", self.template, len(group))
            words = [" ".join(phrase.lower().split()) for phrase in group]
            if not all(words):
                raise ValueError(f"`objects` must be nouns, got {list(group)}.")
            if len({*words}) < len(words):
                raise ValueError(
                    f"`objects`: two of {list(group)} are the same word, and nobody could tell them apart. Say how "
                    "they differ: [black cat, white cat]."
                )
        for template in self.same_templates:
            check_slots("same_templates", template, 1)

    def candidates(self) -> list[Planned]:
        """Groups by turns, so that a plan that stops early has something of each."""
        found = []
        for number in range(self.count * len(self.objects)):
            phrases = self.objects[number % len(self.objects)]
            turn = number // len(self.objects)
            prompt = self._sentence(self.template, phrases, turn)
            found.append(Planned(f"{self.relation.replace('_', '-')}-{number:04d}", number, phrases, prompt))
        return found

    def same_prompt(self, planned: Planned, index: int, templates: Sequence[str] = ()) -> str:
        """Sentence for object `index` alone. `templates`: of the generator, for a plan without its own."""
        templates, turn = self.same_templates or templates, planned.number // len(self.objects)
        template = templates[(turn + index) % len(templates)]
        return self._sentence(template, planned.phrases[index : index + 1], turn + index + 1)

    def _sentence(self, template: str, phrases: Sequence[str], turn: int) -> str:
        def article(match: re.Match) -> str:
            is_vowel = phrases[int(match[3])][0].lower() in "aeiou"
            return f"{match[1]}{'n' if is_vowel else ''}{match[2]}{{{match[3]}}}"

        sentence = _SLOT.sub(lambda match: phrases[int(match[1])], _ARTICLE.sub(article, template))
        return f"{sentence} {self.scenes[turn % len(self.scenes)]}" if self.scenes else sentence.rstrip(",")

    def seed_of(self, planned: Planned, index: int | None = None) -> int:
        """Of a target's noise, or of its object `index` alone: of this plan's seed and their names alone."""
        text = f"{self.seed}/{planned.id}/{'target' if index is None else index}"
        return int.from_bytes(hashlib.sha256(text.encode()).digest()[:4], "big")

    def with_predicate(self, known: dict[str, Any] | None = None) -> "Plan":
        """This plan with the relation's words found or checked in every sentence.

        Args:
            known: an earlier answer's `as_record`: for the same plan nothing is looked up again.
        Raises:
            ValueError: phrases or predicate do not stand in a sentence as words of their own.
        """
        own = json.loads(json.dumps(self.as_record()))
        predicate = (known or {}).get("predicate")
        if predicate and {**(known or {}), **own, "predicate": self.predicate or predicate} == known:
            return Plan(**{**_shallow(self), "predicate": predicate})
        from ...relation_layouts import missing_phrases  # late: it brings diffusers
        from ..predicates import sentence_predicate

        first = self.candidates()[0]
        predicate = self.predicate or sentence_predicate(first.prompt, first.phrases)
        if not predicate:
            raise ValueError(f"no relation's words in {first.prompt!r}. Name them: `predicate: shaking hands`.")
        for planned in self.candidates()[: len(self.objects)]:
            if missing := missing_phrases([*planned.phrases, predicate], planned.prompt):
                raise ValueError(
                    f"{', '.join(map(repr, missing))} must stand in {planned.prompt!r} as words of their own. "
                    "`predicate` is the relation's words as the template has them."
                )
        return Plan(**{**_shallow(self), "predicate": predicate})

    def as_record(self) -> dict[str, Any]:
        """JSON-ready, as `plan.json` keeps it."""
        return asdict(self)


def read_plan(file: Path | None, given: dict[str, Any]) -> Plan:
    """The plan of a YAML file, or of options alone; options that are given stand before the file's fields.

    Raises:
        ValueError: no YAML, unknown or missing fields, or whatever `Plan` refuses.
    """
    values: dict[str, Any] = {}
    if file is not None:
        import yaml

        try:
            values = yaml.safe_load(file.read_bytes().decode("utf-8-sig"))
        except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
            raise ValueError(f"the plan `{file.name}` cannot be read: {str(error).splitlines()[0]}.") from error
        if not isinstance(values, dict):
            raise ValueError(f"the plan `{file.name}` must be fields such as `relation: hugging`.")
        refuse_keys(f"plan {file.name}", values)
    values |= {name: value for name, value in given.items() if value is not None}
    known = {field.name for field in fields(Plan)}
    if unknown := sorted(map(str, {*values} - known)):
        raise ValueError(f"a plan has no field {', '.join(unknown)}; it has {', '.join(sorted(known))}.")
    if missing := [name for name in ("relation", "template", "objects") if not values.get(name)]:
        raise ValueError(f"the plan lacks {', '.join(missing)}. Give a file (`--plan`) or the options of these names.")
    for name in ("relation", "template", "predicate"):
        if not isinstance(values.get(name, ""), str):
            raise ValueError(f"`{name}` must be a text, got {values[name]!r}.")
    for name in ("scenes", "same_templates"):
        values[name] = _texts(name, values.get(name) or ())
    if not isinstance(values["objects"], (list, tuple)):
        raise ValueError(f"`objects` must be groups of phrases, such as [[cat, bear]], got {values['objects']!r}.")
    values["objects"] = tuple(_texts("objects", group) for group in values["objects"])
    if isinstance(size := values.get("size"), (list, tuple)):
        if len(size) != 2:
            raise ValueError(f"`size` must be one number or [width, height], got {size!r}.")
        values["size"] = tuple(size)
    elif size is not None:
        values["size"] = (size, size)
    return Plan(**values)


def _texts(name: str, value: Any) -> tuple[str, ...]:
    value = [value] if isinstance(value, str) else value
    if not isinstance(value, (list, tuple)) or not all(isinstance(v, str) and v.strip() for v in value):
        raise ValueError(f"`{name}` must be texts, got {value!r}. In YAML, put words like yes and no in quotes.")
    return tuple(" ".join(v.split()) for v in value)


def check_slots(name: str, template: str, count: int) -> None:
    """Raise a ValueError unless `template` has {0}, {1}, … for `count` objects, each once, and no other braces."""
    found = sorted(int(number) for number in _SLOT.findall(template))
    if found != list(range(count)) or re.search(r"[{}]", _SLOT.sub("", template)):
        wanted = ", ".join(f"{{{i}}}" for i in range(count))
        raise ValueError(f"`{name}` must have each of {wanted} once and no other braces, got {template!r}.")


def _check_whole(name: str, value: Any, least: int, most: int) -> None:
    if not isinstance(value, int) or isinstance(value, bool) or not least <= value <= most:
        raise ValueError(f"`{name}` must be a whole number from {least} to {most}, got {value!r}.")


def _shallow(plan: Plan) -> dict[str, Any]:
    return {field.name: getattr(plan, field.name) for field in fields(plan)}
