"""How well: metrics that read pictures and cases, each with all that its figures need to be understood."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from ...miniature.judges import MiniatureJudges
from ...vision.language import vision_language_model
from ...vision.towers import CLIP, DINO, MINIATURE, clip_tower, dino_tower
from ..cases import CaseFile
from ..cases.predicates import PREDICATE_RULES
from .detection import detector
from .drawn_world import DrawnWorld, check_words
from .features import FeatureStore
from .identity import CropIdentity
from .judge import Judge, check_judge
from .metric import Column, Metric, Value
from .questions import Questions
from .scores import Scores, read_scores, score_case
from .similarity import ImageSimilarity, TextAlignment, check_protocol

__all__ = [
    "CLIP", "DINO", "MINIATURE", "Column", "Metric", "MetricOptions", "Scores", "Value", "plan_metrics", "read_scores",
    "score_case",
]  # fmt: skip


@dataclass(frozen=True)
class MetricOptions:
    """Which models read the pictures.

    Attributes:
        clip, dino: folder or repository, or "miniature": the drawn world's own towers, and its judges beside them.
        detector: an OWLv2 or Grounding DINO; "boxes": the case's own boxes; None: no crops.
        vlm: an image-text-to-text model. judge: address of an OpenAI-compatible endpoint.
        protocol: see `similarity.PROTOCOLS`. predicate_rule: see `case_predicate`. batch_size: pictures a pass.
    """

    clip: str = CLIP
    dino: str = DINO
    detector: str | None = "boxes"
    vlm: str | None = None
    judge: str | None = None
    judge_model: str | None = None
    protocol: str = "relationbench"
    predicate_rule: str = "with_object"
    device: str = "cpu"
    batch_size: int = 1


def plan_metrics(options: MetricOptions, cases: CaseFile, folder: Path) -> Callable[[], list[Metric]]:
    """A maker of the metrics. Models' kinds are checked now, their weights load when it is called.

    Raises:
        ValueError: a model that is not of its kind, an unknown protocol, or a judge without a model's name, or whose
            address may hold a key.
    """
    check_protocol(options.protocol)
    if options.predicate_rule not in PREDICATE_RULES:
        raise ValueError(
            f"`predicate_rule` must be one of {', '.join(PREDICATE_RULES)}, got {options.predicate_rule!r}."
        )
    if options.batch_size < 1:
        raise ValueError(f"`batch_size` must be at least 1, got {options.batch_size}.")
    if (options.judge is None) != (options.judge_model is None):
        raise ValueError("`judge` (an address) and `judge_model` (a name there) belong together. Pass both or neither.")
    if options.judge is not None:
        check_judge(options.judge, options.judge_model)
    if options.clip == MINIATURE:
        check_words(cases, options.predicate_rule)
    clip, dino = clip_tower(options.clip, options.device), dino_tower(options.dino, options.device)
    finder = detector(options.detector, options.device) if options.detector else None
    vlm = vision_language_model(options.vlm, options.device) if options.vlm else None

    def make() -> list[Metric]:
        clip_store = FeatureStore(clip(), folder, options.batch_size)
        dino_store = FeatureStore(dino(), folder, options.batch_size)
        metrics: list[Metric] = [
            TextAlignment(clip_store, options.protocol, options.predicate_rule),
            ImageSimilarity(clip_store, "CLIP-I", options.protocol),
            ImageSimilarity(dino_store, "DINO", options.protocol, product=True),
        ]
        if finder is not None:
            stores = {"CLIP-I": clip_store, "DINO": dino_store}
            metrics.append(CropIdentity(stores, finder(), options.protocol))
        if options.clip == MINIATURE:
            metrics.append(DrawnWorld(MiniatureJudges.load(device=options.device)))
        if vlm is not None:
            metrics.append(Questions(vlm()))
        if options.judge is not None:
            metrics.append(Judge(options.judge, options.judge_model, folder))
        return metrics

    return make
