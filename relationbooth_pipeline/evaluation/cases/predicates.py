"""The words of a case that carry its relation: given, or found between and after the phrases by rule."""

import re

from .case import Case, phrase_places

PREDICATE_RULES = ("with_object", "verb")
AUXILIARIES = frozenset("is are was were be been being has have".split())
DETERMINERS = frozenset("a an the their his her its another one this that".split())
JOINERS = frozenset("and or with both together , &".split())
# Where a predicate ends: words that begin a place, a time or a circumstance.
STOPS = frozenset(
    "on in at by through along under over during with across near beside behind inside into from after before while "
    "surrounded overlooking filled down up around against between above below towards amid among onto to of".split()
)
_TOKEN = re.compile(r"[\w'’-]+|[^\w\s]")


def case_predicate(case: Case, rule: str = "with_object") -> tuple[str | None, str]:
    """(predicate, where it comes from) of a case; (None, why) when it has none: CLIP-R is then not defined.

    Args:
        rule: "with_object": "playing chess with"; "verb": the verb alone as the released triplets have it, "playing".
            An explicit predicate of the case wins over either, but the verb is still taken out of it.
    """
    if rule not in PREDICATE_RULES:
        raise ValueError(f"`predicate_rule` must be one of {', '.join(PREDICATE_RULES)}, got {rule!r}.")
    words, source = None, "given by the case"
    if case.predicate and case.predicate.strip():
        words = _without_leading(_tokens(case.predicate), AUXILIARIES)
    else:
        words, source = found_predicate(case.prompt, case.phrases), f"found by rule ({rule})"
    if not words:
        return None, "no predicate stands between or after the phrases"
    return (_verb(words) if rule == "verb" else " ".join(words)), source


def found_predicate(prompt: str, phrases: tuple[str, ...]) -> list[str] | None:
    """Words of the relation, by where the phrases stand; no parser.

    Two phrases: the words between them without auxiliaries before and articles after; a noun that follows the second
    belongs to it ("giving a {} a piggyback ride"). When only "and" stands between them, or with one phrase: the words
    after it up to punctuation, an adverb of manner or a word that begins a place or time.
    """
    places = sorted(place for place in phrase_places(phrases, prompt) if place)
    if not places:
        return None
    tail = _tokens(prompt[places[min(1, len(places) - 1)][1] :])
    if len(places) == 1:
        return _tail_predicate(tail)
    between = _without_leading(_tokens(prompt[places[0][1] : places[1][0]]), AUXILIARIES)
    while between and between[-1].lower() in DETERMINERS:
        between.pop()
    if all(word.lower() in JOINERS for word in between):
        return _tail_predicate(_tokens(prompt[places[-1][1] :]))
    if any(not word[0].isalnum() for word in between) or between[0].lower() in STOPS - {"inside"}:
        return None  # "{0} of …, {1}": a style or a place, no relation
    return between + _second_object(tail)


def _tail_predicate(words: list[str]) -> list[str] | None:
    words, kept = _without_leading(words, AUXILIARIES), []
    if not words or words[0].lower() in STOPS | JOINERS:
        return None
    for word in words:
        ends = kept and (word.lower() in STOPS or _is_manner(word))
        if ends or not word[0].isalnum():
            break
        kept.append(word)
    return kept or None


def _second_object(tail: list[str]) -> list[str]:
    """ "a piggyback ride" of "a piggyback ride in the park"; empty unless the tail starts with an article."""
    if not tail or tail[0].lower() not in ("a", "an"):
        return []
    kept = []
    for word in tail:
        if not word[0].isalnum() or word.lower() in STOPS or _is_manner(word):
            break
        kept.append(word)
    return kept


def _verb(words: list[str]) -> str:
    """The first word in -ing ("dancing" of "partner dancing with"), else the first."""
    return next((word for word in words if word.lower().endswith("ing")), words[0])


def _is_manner(word: str) -> bool:
    return len(word) > 4 and word.lower().endswith("ly")


def _without_leading(words: list[str], dropped: frozenset[str]) -> list[str]:
    start = 0
    while start < len(words) and words[start].lower() in dropped:
        start += 1
    return words[start:]


def _tokens(text: str) -> list[str]:
    return _TOKEN.findall(text)
