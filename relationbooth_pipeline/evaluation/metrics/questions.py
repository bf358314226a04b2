"""Yes/no questions about a case's pictures, answered by a vision-language model's probabilities."""

from collections.abc import Sequence

from PIL import Image

from ...relation_layouts import phrase_places
from ...vision.language import VisionLanguageModel
from ..cases import Case, CaseFile, case_predicate
from .metric import Column, Metric, Value


def statement(case: Case, exchanged: bool = False) -> str:
    """The case's relation as its prompt says it, without the rest: "cat is hugging a bear".

    Args:
        exchanged: the first two phrases in each other's place.
    """
    places = phrase_places(case.phrases, case.prompt)
    start, end = min(p[0] for p in places), max(p[1] for p in places)
    predicate, _ = case_predicate(case)
    last = predicate.split()[-1] if predicate else ""
    if (at := case.prompt.find(last, min(p[1] for p in places))) >= 0 and last:
        end = max(end, at + len(last))
    text = case.prompt
    if exchanged:
        phrases = [case.phrases[1], case.phrases[0], *case.phrases[2:]]
        for place, phrase in sorted(zip(places, phrases), reverse=True):
            text = text[: place[0]] + phrase + text[place[1] :]
        end += len(text) - len(case.prompt)
    return text[start:end]


def questions(case: Case) -> dict[str, list[str]]:
    """Column → what is asked; a missing column is not asked of this case."""
    asked = {"P(objects)": [f"Is there a {phrase} in this picture?" for phrase in case.phrases]}
    if case_predicate(case)[0]:
        asked["P(relation)"] = [f'Does this picture show "the {statement(case)}"?']
        if len(case.phrases) == 2:
            first, second = case.phrases
            asked["P(contact)"] = [f"Are the {first} and the {second} touching each other?"]
            if first != second:
                asked["P(reversed)"] = [f'Does this picture show "the {statement(case, exchanged=True)}"?']
    if case.questions:
        asked["P(bench's)"] = list(case.questions)
    return asked


class Questions(Metric):
    """P(Yes) of dependent questions: whatever is asked about objects that are not both there counts 0."""

    MEANINGS = {
        "P(objects)": ("All objects are there.", "least of the objects'"),
        "P(relation)": ("The relation happens.", "0 when an object is not there (P < 0.5)"),
        "P(contact)": ("The two touch.", "0 when an object is not there"),
        "P(reversed)": ("The relation happens the other way round.", "0 when an object is not there"),
        "P(bench's)": ("The bench's own questions about the interaction.", "mean; 0 when an object is not there"),
    }

    def __init__(self, model: VisionLanguageModel):
        self.model = model
        self.columns = tuple(
            Column(
                name,
                meaning,
                checkpoint=model.checkpoint,
                preprocessing="the model's own",
                scale="P(Yes) / (P(Yes) + P(No)) at the first token",
                pairing=how,
                higher_is_better=name != "P(reversed)",
            )
            for name, (meaning, how) in self.MEANINGS.items()
        )

    def score(self, cases: CaseFile, case: Case, pictures: Sequence[Image.Image]) -> dict[str, list[Value]]:
        asked = questions(case)
        found: dict[str, list[Value]] = {column.name: [] for column in self.columns}
        for picture in pictures:
            there = 1.0
            for name in self.MEANINGS:
                if name not in asked:
                    found[name].append(Value(None, "not asked of this case"))
                    continue
                answers = [self.model.yes_probability(picture, question) for question in asked[name]]
                values = [probability for probability, _ in answers]
                mass = min(both for _, both in answers)
                if name == "P(objects)":
                    there = value = min(values)
                else:
                    value = sum(values) / len(values) if there >= 0.5 else 0.0
                found[name].append(Value(value, f"Yes and No hold {mass:.3f} of the probability"))
        return found
