"""Sentences of the world: templates that know where their phrases and their predicate stand."""

from dataclasses import dataclass

from .identities import ACCESSORIES, COLORS, MARKINGS, SPECIES
from .poses import RELATIONS

PREDICATES = {
    "high_fiving": "is high fiving", "back_to_back": "is back to back with", "kissing": "is kissing",
    "holding_hands": "is holding hands with", "hugging": "is hugging", "shaking_hands": "is shaking hands with",
    "dancing": "is dancing with", "carrying": "is carrying",
    "standing": "is standing", "waving": "is waving", "jumping": "is jumping", "playing_guitar": "is playing guitar",
}  # fmt: skip
PLACES = {"meadow": "in a meadow", "night": "at night", "studio": "in a studio"}
DETAILS = ("full", "species", "animal")


@dataclass(frozen=True)
class Caption:
    """Attributes: text; phrases: the nouns, in order; phrase_spans, predicate_span: [start, end) in characters."""

    text: str
    phrases: tuple[str, ...]
    phrase_spans: tuple[tuple[int, int], ...]
    predicate: str
    predicate_span: tuple[int, int]


def noun(character, detail, with_accessory=True):
    """What a character is called, without an article.

    Args:
        detail: "full" (colour, marking, species, accessory), "species" or "animal". with_accessory: for "full".
    """
    if detail == "animal":
        return "animal"
    if detail == "species":
        return character.species
    words = [character.color] if character.color else []
    words += [character.marking] if character.marking != "plain" else []
    words.append(character.species)
    if with_accessory and character.accessory != "none":
        words += ["wearing", "a", character.accessory]
    return " ".join(words)


def with_article(words):
    return ("an " if words[0] in "aeiou" else "a ") + words


def make_caption(characters, pose, background=None, detail="full"):
    """A caption such as "a red spotted cat is hugging an elephant wearing a hat at night".

    Args:
        characters: in the caption's order. pose: key of PREDICATES. background: key of PLACES, or None to leave it out.
        detail: one of DETAILS for all characters, or a list with one for each.
    """
    if pose in RELATIONS and len(characters) != 2:
        raise ValueError(f"Pose {pose!r} relates 2 characters, got {len(characters)}.")
    details = [detail] * len(characters) if isinstance(detail, str) else detail
    predicate, text, phrases, spans = PREDICATES[pose], "", [], []
    predicate_span = (0, 0)
    for index, (character, how) in enumerate(zip(characters, details)):
        phrase = noun(character, how)
        text += with_article(phrase)
        spans.append((len(text) - len(phrase), len(text)))
        phrases.append(phrase)
        if index == 0:
            predicate_span = (len(text) + 1, len(text) + 1 + len(predicate))
            text += f" {predicate} " if len(characters) > 1 else f" {predicate}"
    if background is not None:
        text += f" {PLACES[background]}"
    return Caption(text, tuple(phrases), tuple(spans), predicate, predicate_span)


def world_words():
    """Every word that captions may hold, in a fixed order."""
    sentences = [*PREDICATES.values(), *PLACES.values(), "a an animal wearing a and with"]
    words = [word for sentence in sentences for word in sentence.split()]
    words += [*SPECIES, *COLORS, *MARKINGS[1:], *ACCESSORIES[1:]]
    return tuple(dict.fromkeys(words))
