"""The words of a case that carry its relation: given by it, or by its sentence."""

from ...triplets.predicates import AUXILIARIES, sentence_predicate
from .case import Case

PREDICATE_RULES = ("with_object", "verb")
# "{} of brass, {}", "{} with a {} in the background": a style, a place or company, no relation
NO_RELATION = frozenset("of with in at from to during while".split())


def case_predicate(case: Case, rule: str = "with_object") -> tuple[str | None, str]:
    """(predicate, where it comes from) of a case; (None, why) when it has none: CLIP-R is then not defined.

    Args:
        rule: "with_object": "playing chess with"; "verb": the verb alone as the released triplets have it, "playing".
            An explicit predicate of the case wins over its sentence, but the verb is still taken out of it.
    """
    if rule not in PREDICATE_RULES:
        raise ValueError(f"`predicate_rule` must be one of {', '.join(PREDICATE_RULES)}, got {rule!r}.")
    source = "given by the case"
    words = (case.predicate or "").split()
    if not words:
        words, source = (sentence_predicate(case.prompt, case.phrases) or "").split(), f"found by rule ({rule})"
        words = [] if words and words[0].lower() in NO_RELATION else words
    words = _without_auxiliaries(words)
    if not words:
        return None, "no predicate stands between or after the phrases"
    return (_verb(words) if rule == "verb" else " ".join(words)), source


def bare_predicate(text: str) -> str:
    """A predicate as tables and cases are matched: small letters, without auxiliaries ("Is hugging" → "hugging")."""
    return " ".join(_without_auxiliaries(text.lower().split()))


def _without_auxiliaries(words: list[str]) -> list[str]:
    while words and words[0].lower() in AUXILIARIES:
        words = words[1:]
    return words


def _verb(words: list[str]) -> str:
    """The first word in -ing ("dancing" of "partner dancing with"), else the first."""
    return next((word for word in words if word.lower().endswith("ing")), words[0])
