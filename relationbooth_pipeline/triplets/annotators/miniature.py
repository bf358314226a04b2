"""The drawn world's own annotators for every role but captions: `miniature`."""

import importlib
import importlib.util
from collections.abc import Sequence
from functools import cache
from typing import Any

import torch
from PIL import Image

from ... import miniature
from ...digests import folder_digest
from ...miniature.words import words_of
from ...vision.towers import MINIATURE
from .annotator import Annotator, Box, BoxFinder, Choice, KeypointFinder, RelationJudge, Segmenter
from .towers import choose_tower

MODULE = "relationbooth_pipeline.miniature.annotator"
WEIGHTS = "judges/annotator.safetensors"  # below the miniature's own
ORDER = "AP-10K"


@cache
def model(device: str) -> Any:
    """The one small model of all roles; it stays loaded."""
    return importlib.import_module(MODULE).MiniatureAnnotator.load(device=device)


def checkpoint() -> str:
    """Digest of its weights, before they load."""
    return f"{MINIATURE} annotator #{folder_digest((miniature.path() / WEIGHTS).parent)}"


def is_here() -> bool:
    """Whether this installation has the annotator and its weights."""
    return importlib.util.find_spec(MODULE) is not None and (miniature.path() / WEIGHTS).is_file()


class _Miniature(Annotator):
    def __init__(self, device: str):
        self.model, self.checkpoint = model(device), checkpoint()

    @classmethod
    def check_words(cls, phrases: Sequence[str], predicate: str) -> None:
        for phrase in phrases:
            words_of(phrase, model("cpu").words, "phrase")


class MiniatureFinder(_Miniature, BoxFinder):
    def find(self, image: Image.Image, phrase: str) -> list[tuple[Box, float]]:
        return self.model.find(image, phrase)


class MiniatureSegmenter(_Miniature, Segmenter):
    def segment(self, image: Image.Image, box: Box, phrase: str) -> torch.Tensor:
        return torch.as_tensor(self.model.segment(image, box, phrase))


class MiniatureKeypoints(_Miniature, KeypointFinder):
    keypoint_order = ORDER

    def keypoints(self, image: Image.Image, box: Box, phrase: str) -> torch.Tensor:
        return torch.as_tensor(self.model.keypoints(image, box, phrase))


class MiniatureJudge(_Miniature, RelationJudge):
    @classmethod
    def check_words(cls, phrases: Sequence[str], predicate: str) -> None:
        model("cpu").judges.pose_of(predicate)

    def probability(self, image: Image.Image, phrases: Sequence[str], predicate: str) -> float:
        return float(self.model.relation(image, predicate))


_CLASSES = {
    "boxes": MiniatureFinder,
    "masks": MiniatureSegmenter,
    "keypoints": MiniatureKeypoints,
    "judge": MiniatureJudge,
}


def choose_miniature(role: str, device: str) -> Choice:
    """The miniature's annotator of a role; likeness is its dense tower's."""
    if role == "likeness":
        return choose_tower("dino", MINIATURE, device)
    if not is_here():
        raise ValueError(f"`miniature`: this installation has no `{MODULE}` with `{WEIGHTS}`. Install one that has it.")
    order = ORDER if role == "keypoints" else None
    made = _CLASSES[role]
    return Choice(MINIATURE, checkpoint(), lambda: made(device), order, check_words=made.check_words)
