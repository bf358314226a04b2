"""Stage caption: the sentence that a triplet trains with; phrases and predicate stand in it word by word."""

from collections.abc import Sequence

from ...relation_layouts import missing_phrases
from ..annotators import Captioner
from ..engine.candidates import Candidate
from ..predicates import relation_sentence
from .stage import Stage


class Caption(Stage[Captioner]):
    """{"prompt", "phrases", "predicate", "source": "given", "captioner" or "template", "note"}.

    The sentence that was given holds; where none was, the captioner is asked; else, and where the words are missing,
    the template says it, and the note why.
    """

    name = "caption"

    def record(self, candidate: Candidate) -> dict:
        phrases, predicate = list(candidate.phrases), candidate.predicate
        source, prompt, note = "template", candidate.prompt, None
        if prompt is not None:
            source = "given"
        elif self.annotator is not None:
            source = "captioner"
            prompt = self.annotator.caption(self.work.picture(candidate.target), phrases, predicate)
        if prompt is not None and (missing := missing_words(prompt, phrases, predicate)):
            note = f"the {source}'s sentence {prompt!r} lacks {', '.join(map(repr, missing))}; the template says it."
            prompt = None
        if prompt is None:
            source, prompt = "template", relation_sentence(phrases, predicate)
        return {"prompt": prompt, "phrases": phrases, "predicate": predicate, "source": source, "note": note}


def missing_words(prompt: str, phrases: Sequence[str], predicate: str) -> list[str]:
    """Phrases, and the predicate, that do not stand in a prompt as words of their own."""
    return [*missing_phrases(phrases, prompt), *missing_phrases([predicate], prompt)]
