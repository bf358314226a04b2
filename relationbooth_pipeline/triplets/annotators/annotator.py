"""What an annotator is: boxes, masks, keypoints, captions, judgements or features of pictures; one class for each."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import ClassVar, Generic, TypeVar

import torch
from PIL import Image

Box = tuple[float, float, float, float]  # XYXY in [0, 1]


class Annotator(ABC):
    """A model that reads pictures. Loaded for one stage, then freed.

    Attributes:
        checkpoint: which weights, as records name them; another text means that the stage is done again.
    """

    checkpoint: str

    @classmethod  # noqa: B027 - whoever reads any leaves it out
    def check_words(cls, phrases: Sequence[str], predicate: str) -> None:
        """Raise a ValueError for words that it does not know: before a stage runs, and before pictures are paid for."""

    def free(self) -> None:  # noqa: B027 - whoever holds nothing leaves it out
        """Let the weights go."""


class BoxFinder(Annotator):
    """Where a phrase's object is."""

    @abstractmethod
    def find(self, image: Image.Image, phrase: str) -> list[tuple[Box, float]]:
        """(box, score) of every object of that phrase, best first, without near copies."""


class Segmenter(Annotator):
    """Which pixels are an object's."""

    @abstractmethod
    def segment(self, image: Image.Image, box: Box, phrase: str) -> torch.Tensor:
        """bool (H, W) of the picture's size."""

    def segment_all(self, image: Image.Image, boxes: Sequence[Box], phrases: Sequence[str]) -> list[torch.Tensor]:
        """Of several objects of one picture; override it where they take one pass."""
        return [self.segment(image, box, phrase) for box, phrase in zip(boxes, phrases)]


class KeypointFinder(Annotator):
    """Where an object's 17 keypoints are.

    Attributes:
        keypoint_order: "AP-10K" or "COCO", of this one head.
    """

    keypoint_order: str

    @abstractmethod
    def keypoints(self, image: Image.Image, box: Box, phrase: str) -> torch.Tensor:
        """(17, 3): x, y in units of the picture's sides (perhaps outside [0, 1]), and a score."""

    def keypoints_all(self, image: Image.Image, boxes: Sequence[Box], phrases: Sequence[str]) -> list[torch.Tensor]:
        """As `Segmenter.segment_all`."""
        return [self.keypoints(image, box, phrase) for box, phrase in zip(boxes, phrases)]


class Captioner(Annotator):
    """A picture in a sentence."""

    @abstractmethod
    def caption(self, image: Image.Image, phrases: Sequence[str], predicate: str) -> str:
        """A sentence that should hold phrases and predicate word by word; the stage checks it."""


class RelationJudge(Annotator):
    """Whether a relation happens."""

    @abstractmethod
    def probability(self, image: Image.Image, phrases: Sequence[str], predicate: str) -> float:
        """P(Yes) in [0, 1]."""


class Likeness(Annotator):
    """Features that are alike for pictures of the same individual."""

    @abstractmethod
    def features(self, images: Sequence[Image.Image]) -> torch.Tensor:
        """float (B, D); compared by their cosine."""


ROLES = {
    "boxes": BoxFinder,
    "masks": Segmenter,
    "keypoints": KeypointFinder,
    "captions": Captioner,
    "judge": RelationJudge,
    "likeness": Likeness,
}
A = TypeVar("A", bound=Annotator)


@dataclass(frozen=True)
class Choice(Generic[A]):
    """An annotator that was named and checked; its weights load when it is asked for.

    Attributes:
        name: as the user gave it. checkpoint: which weights, known before they load. load: makes the annotator.
        keypoint_order: of keypoint finders. check_words: the class's.
    """

    name: str
    checkpoint: str
    load: Callable[[], A]
    keypoint_order: str | None = None
    check_words: Callable[[Sequence[str], str], None] = Annotator.check_words

    NONE: ClassVar[str] = "none"  # the name that turns a role off
