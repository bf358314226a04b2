"""The words of a prompt that say the relation, told by the places of its phrases alone."""

import re
from collections.abc import Sequence

from ..relation_layouts import phrase_places

AUXILIARIES = frozenset("is are was were be been being has have".split())
DETERMINERS = frozenset("a an the their his her its another one this that".split())
CONJUNCTIONS = frozenset("and or".split())
# What begins the place, the time or the company of an action, which is no part of it.
PLACE_WORDS = frozenset(
    """on in at by through along under over during with across near beside behind inside into from after before while
    surrounded overlooking filled down up around against between above below towards amid among onto to of""".split()
)
NOUNS_IN_LY = frozenset("ally assembly belly bully butterfly family fly jelly lily rally".split())


def sentence_predicate(prompt: str, phrases: Sequence[str]) -> str | None:
    """The relation's words in a prompt, or None when the sentence says none.

    With slots where the phrases stand: the words between two slots, without auxiliary verbs before and determiners
    after them; when nothing but "and", "or" or a comma is there, or there is one slot, the words after the last slot up
    to punctuation, an adverb of manner, or a word that begins a place. A noun with its article that follows the last of
    several slots is part of the relation ("giving a {} a piggyback ride").

        "A bear is hugging a tiger."      → "hugging"
        "A lion and a polar bear hug."    → "hug"
        "A cat is riding a bike by a lake" → "riding a bike"

    Needs no parser of English, and the same sentence with other nouns gives the same words.
    """
    places = phrase_places(phrases, prompt)
    if not places or None in places:
        return None
    places = sorted(places)
    tail = _tail(prompt[places[-1][1] :])
    for (_, start), (end, _) in zip(places, places[1:]):
        between = _between(prompt[start:end])
        if between:
            noun = tail if len(tail) > 1 and tail[0].lower() in ("a", "an") else []
            return " ".join([*between, *noun])
    if not tail or tail[0].lower() in PLACE_WORDS | CONJUNCTIONS:
        return None
    return " ".join(tail)


def relation_sentence(phrases: Sequence[str], predicate: str) -> str:
    """The plainest sentence that says a relation: "a cat is hugging an elephant", "a cat is playing guitar".

    "is" stands before a predicate that begins with a word in -ing; "hugs" and "is hugging" stand as they are.
    """
    nouns = [("an " if phrase[0].lower() in "aeiou" else "a ") + phrase for phrase in phrases]
    first = predicate.split()[0].lower()
    verb = f"is {predicate}" if first.endswith("ing") and first not in AUXILIARIES else predicate
    return " ".join([nouns[0], verb, *([" and ".join(nouns[1:])] if nouns[1:] else [])])


def _between(text: str) -> list[str]:
    words = text.strip(" ,").split()
    while words and words[0].lower() in AUXILIARIES:
        words = words[1:]
    while words and words[-1].lower().strip(",") in DETERMINERS:
        words = words[:-1]
    return [] if {word.lower().strip(",") for word in words} <= CONJUNCTIONS | {""} else words


def _tail(text: str) -> list[str]:
    words = re.match(r"[^.,;:!?()\"]*", text)[0].split()
    while words and words[0].lower() in AUXILIARIES:
        words = words[1:]
    stops = (i for i, word in enumerate(words) if i and (word.lower() in PLACE_WORDS or _is_manner(word.lower())))
    return words[: next(stops, len(words))]


def _is_manner(word: str) -> bool:
    return word.endswith("ly") and word not in NOUNS_IN_LY
