"""Sentences of the world: templates that know where their phrases and their predicate stand."""

from dataclasses import dataclass

from .identities import ACCESSORIES, COLORS, GLYPHS, MARKINGS, PUPILS, SPECIES
from .poses import EDITIONS, RELATIONS
from .proportions import EDITION
from .proportions import EDITIONS as PROPORTIONS_OF
from .splits import known_poses

PREDICATES = {
    "high_fiving": "is high fiving", "back_to_back": "is back to back with", "kissing": "is kissing",
    "holding_hands": "is holding hands with", "hugging": "is hugging", "shaking_hands": "is shaking hands with",
    "dancing": "is dancing with", "carrying": "is carrying",
    "standing": "is standing", "waving": "is waving", "jumping": "is jumping", "playing_guitar": "is playing guitar",
    # the rest of RelationBench (RelationBooth, Table 9)
    "playing_chess": "is playing chess with", "fencing": "is fencing with",
    "playing_basketball": "is playing basketball with", "wrestling": "is wrestling with",
    "fighting": "is fighting with", "sitting_back_to_back": "is sitting back to back with",
    "playing_piano": "is playing piano", "eating_dinner": "is eating dinner", "dancing_alone": "is dancing",
    "lifting_weights": "is lifting weights", "reading_book": "is reading a book", "skiing": "is skiing",
    "sleeping": "is sleeping", "cooking_lunch": "is cooking lunch", "singing": "is singing",
    "riding_bike": "is riding a bike", "riding_horse": "is riding a horse",
    "riding_motorbike": "is riding a motorbike", "playing_soccer": "is playing soccer",
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


def glyph_word(glyph):
    return f"{glyph}bellied"


def pupils_word(pupils):
    return f"{pupils}eyed"


def noun(character, detail, with_accessory=True):
    """What a character is called, without an article.

    Args:
        detail: "full" (colour, marking, species, accessory), "fine" (the same with glyph and pupils), "species" or
            "animal". with_accessory: for "full" and "fine".
    """
    if detail == "animal":
        return "animal"
    if detail == "species":
        return character.species
    words = [character.color] if character.color else []
    words += [character.marking] if character.marking != "plain" else []
    if detail == "fine" and character.glyph is not None:
        words += [glyph_word(character.glyph), pupils_word(character.pupils)]
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
        detail: of `noun`, one for all characters or a list with one for each.
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


def world_words(edition=None):
    """Every word that captions of an edition may hold; those of earlier editions come first, in the order they had.

    Args:
        edition: key of EDITIONS; default: `splits.EDITION`.
    """
    first = [PREDICATES[pose] for pose in EDITIONS[1]]
    sentences = [*first, *PLACES.values(), "a an animal wearing a and with"]
    words = [word for sentence in sentences for word in sentence.split()]
    words += [*SPECIES, *COLORS, *MARKINGS[1:], *ACCESSORIES[1:]]
    words += [word for pose in known_poses(edition=edition) for word in PREDICATES[pose].split()]
    if PROPORTIONS_OF[edition or EDITION].has_fine_attributes:
        words += [*map(glyph_word, GLYPHS), *map(pupils_word, PUPILS)]
    return tuple(dict.fromkeys(words))
