"""Captions and yes/no questions by any vision-language model of transformers: `vlm:`."""

from collections.abc import Sequence

from PIL import Image

from ...vision.checkpoints import checkpoint_of
from ...vision.language import VisionLanguageModel, vision_language_model
from ..predicates import relation_sentence
from .annotator import Captioner, Choice, RelationJudge

CAPTION = "Describe this picture in one short sentence. Use exactly these words in it: {}."
QUESTION = 'Does this picture show "{}"?'
MOST_TOKENS = 60  # of a caption: CLIP's text encoder reads 77


class LanguageCaptioner(Captioner):
    """A sentence with the words that it was asked for, when the model obeys."""

    def __init__(self, model: VisionLanguageModel):
        self.model, self.checkpoint = model, model.checkpoint

    def caption(self, image: Image.Image, phrases: Sequence[str], predicate: str) -> str:
        words = ", ".join(f'"{word}"' for word in (*phrases, predicate))
        return self.model.answer(image, CAPTION.format(words), MOST_TOKENS)

    def free(self) -> None:
        del self.model


class LanguageJudge(RelationJudge):
    """P(Yes) among Yes and No, at the first token of the answer to "Does this picture show …?"."""

    def __init__(self, model: VisionLanguageModel):
        self.model, self.checkpoint = model, model.checkpoint

    def probability(self, image: Image.Image, phrases: Sequence[str], predicate: str) -> float:
        return self.model.yes_probability(image, QUESTION.format(relation_sentence(phrases, predicate)))[0]

    def free(self) -> None:
        del self.model


def choose_captioner(prefix: str, source: str, device: str) -> Choice[Captioner]:
    make = vision_language_model(source, device)
    return Choice(f"{prefix}:{source}", checkpoint_of(source), lambda: LanguageCaptioner(make()))


def choose_judge(prefix: str, source: str, device: str) -> Choice[RelationJudge]:
    make = vision_language_model(source, device)
    return Choice(f"{prefix}:{source}", checkpoint_of(source), lambda: LanguageJudge(make()))
