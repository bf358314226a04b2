"""The table of losses beside denoising: adding one takes its equation in `losses.py`, and here a weight and a row.

The weight is a field of `LossSettings`, and thereby an option of the program; the row says how the loss is read off a
step. Sum, log, curve and card follow from the table.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch

from .cache import CachedView
from .losses import keypoint_denoising_loss, keypoint_matching_loss, predicate_attention_loss, timestep_gate

KEYPOINT_LOSSES = ("matching", "denoising")


def _option(default: Any, help: str, **more: Any) -> Any:
    return field(default=default, metadata={"help": help, **more})


@dataclass(frozen=True)
class LossSettings:
    """Weights of the losses; every field is an option of the program.

    Attributes:
        keypoint_loss: "matching", L_KML (Eq. 6), or "denoising", the denoising error at the target's keypoints.
        kml_weight: λ of the keypoint loss (RelationBooth, Eq. 7).
        kml_max_timestep: it acts on samples up to this timestep; None: on all, as in the paper.
        predicate_attention_weight: 0 turns the predicate attention loss off, and its extra attention maps.
        snr_gamma: γ of min-SNR weights for the denoising loss (Hang et al., 2023); None: all ones. KML keeps its own
            weight.
    """

    keypoint_loss: str = _option(
        "matching", "the paper's, or the denoising error at the target's keypoints", choices=KEYPOINT_LOSSES
    )
    kml_weight: float = _option(1e-3, "lambda of the keypoint loss; 0: off")
    kml_max_timestep: int | None = _option(
        None, "the keypoint loss up to this timestep only; the released code's 333; default: all timesteps"
    )
    predicate_attention_weight: float = _option(0.0, "of the predicate attention loss; the released code's 1e-3")
    snr_gamma: float | None = _option(None, "min-SNR weights for the denoising loss; 5.0 is usual; default: all ones")


@dataclass(frozen=True)
class Step:
    """What a loss may read of a training step.

    Attributes:
        batch: the samples. timesteps: int (B,), of `last_timestep` + 1.
        clean: ẑ_0, the one-step estimate of the clean latents, (B, C, h, w).
        error: the UNet's answer minus what it should be, (B, C, h, w).
        attention_maps: the predicate's text attention, (B, h', w') of every layer with a coarse grid; empty unless a
            loss of weight above 0 wants them.
    """

    batch: CachedView
    timesteps: torch.Tensor
    last_timestep: int
    clean: torch.Tensor
    error: torch.Tensor
    attention_maps: list[torch.Tensor]
    settings: LossSettings


@dataclass(frozen=True)
class LossTerm:
    """One loss beside denoising.

    Attributes:
        name: in logs and curves. weight: the field of `LossSettings` that multiplies it.
        value: one value per sample, (B,), gated and invisible samples as zero, so that several processes with equal
            batches average to the same number.
        wants_attention: it reads `Step.attention_maps`, and is left out at weight 0.
    """

    name: str
    weight: str
    value: Callable[[Step], torch.Tensor]
    wants_attention: bool = False


def keypoint_term(step: Step) -> torch.Tensor:
    """gate · L_KML, or gate · the denoising error at keypoints"""
    limit, batch = step.settings.kml_max_timestep, step.batch
    gate = timestep_gate(step.timesteps, step.last_timestep if limit is None else limit)
    if step.settings.keypoint_loss == "denoising":
        return gate * keypoint_denoising_loss(step.error, batch.keypoints, batch.is_visible)
    return gate * keypoint_matching_loss(step.clean, batch.prompt_features, batch.keypoints, batch.is_visible)


def predicate_term(step: Step) -> torch.Tensor:
    return predicate_attention_loss(step.attention_maps, step.batch.objects)


LOSS_TERMS = (
    LossTerm("keypoint", "kml_weight", keypoint_term),
    LossTerm("predicate", "predicate_attention_weight", predicate_term, wants_attention=True),
)


def wants_attention(settings: LossSettings) -> bool:
    """Whether a loss in force reads the predicate's attention."""
    return any(term.wants_attention and getattr(settings, term.weight) for term in LOSS_TERMS)
