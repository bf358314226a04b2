"""Judges of the miniature's pictures, trained on renders alone: what a picture shows, and who stands in a box.

They share nothing with the pipeline's own encoders nor with the towers that metrics read, so a generator cannot please
them by its own mistakes.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from .networks import Judge, read_network
from .pictures import Pictures, crop_boxes, pixels_of, with_margin

FOLDER = Path(__file__).parent / "weights" / "judges"
PICTURE_JUDGE, CHARACTER_JUDGE = "picture_judge.safetensors", "character_judge.safetensors"
NONE = "none"
BATCH = 64  # pictures a pass


@dataclass(frozen=True)
class Seen:
    """What the judge of pictures says of B pictures.

    Attributes:
        poses: the likeliest pose of each, or "none". probabilities: (B, poses + 1) in the order of `pose_names`.
        broken: (B,) probability that the drawing is not whole. boxes: (B, 2, 4) XYXY in [0, 1] of the characters from
        west to east; of a single one twice.
    """

    poses: list[str]
    probabilities: torch.Tensor
    broken: torch.Tensor
    boxes: torch.Tensor


class MiniatureJudges:
    """Both judges. Load them by `MiniatureJudges.load()`.

    Attributes:
        pose_names: every pose of the world they were trained on, and "none". attribute_names: {attribute: values}.
        predicates: {pose: its words in captions}. keypoint_names: of the 17 keypoints, in order.
        accuracy: figures on fresh renders of held-out characters, as measured after training. checkpoint: digest.
    """

    def __init__(self, folder: Path, device: str = "cpu"):
        weights, read = read_network(folder / PICTURE_JUDGE)
        self.pose_names: tuple[str, ...] = tuple(read["poses"])
        self.predicates: dict[str, str] = read["predicates"]
        self.picture_judge = Judge({"pose": len(self.pose_names), "broken": 2, "boxes": 8})
        self.picture_judge.load_state_dict(weights)
        weights, known = read_network(folder / CHARACTER_JUDGE)
        self.attribute_names: dict[str, tuple[str, ...]] = {n: tuple(v) for n, v in known["attributes"].items()}
        self.keypoint_names: tuple[str, ...] = tuple(known["keypoints"])
        sizes = {name: len(values) for name, values in self.attribute_names.items()}
        self.character_judge = Judge({**sizes, "keypoints": 2 * len(self.keypoint_names)})
        self.character_judge.load_state_dict(weights)
        self.accuracy: dict[str, float] = {**read["accuracy"], **known["accuracy"]}
        digests = [hashlib.sha256((folder / name).read_bytes()).digest() for name in (PICTURE_JUDGE, CHARACTER_JUDGE)]
        self.checkpoint = "miniature judges #" + hashlib.sha256(b"".join(digests)).hexdigest()[:12]
        self.device = device
        for judge in (self.picture_judge, self.character_judge):
            judge.eval().to(device)

    @classmethod
    def load(cls, folder: str | Path | None = None, device: str = "cpu") -> MiniatureJudges:
        """The shipped judges, or those of a folder that `python -m training.miniature.train judges` wrote.

        Raises:
            ValueError: the files are missing or damaged.
        """
        return cls(Path(folder or FOLDER), device)

    @torch.no_grad()
    def look(self, pictures: Pictures) -> Seen:
        """What pictures show.

        Args:
            pictures: PIL pictures, or (B, S, S, 3) uint8; any size is squashed to 128 pixels a side.
        """
        answers = self._answers(self.picture_judge, pixels_of(pictures))
        probabilities = answers["pose"].softmax(-1)
        names = [self.pose_names[index] for index in probabilities.argmax(-1).tolist()]
        boxes = answers["boxes"].unflatten(1, (2, 4)).clamp(0, 1)
        return Seen(names, probabilities, answers["broken"].softmax(-1)[:, 1], boxes)

    def poses(self, pictures: Pictures) -> tuple[list[str], torch.Tensor]:
        """(likeliest pose of each picture or "none", (B, poses + 1) probabilities in the order of `pose_names`)."""
        seen = self.look(pictures)
        return seen.poses, seen.probabilities

    @torch.no_grad()
    def characters(self, pictures: Pictures, boxes: np.ndarray | torch.Tensor) -> tuple[dict, torch.Tensor]:
        """Who stands in each box.

        Args:
            pictures: as for `look`. boxes: (B, 4) XYXY in [0, 1], one for each picture.
        Returns:
            ({attribute: list of B values}, keypoints in the picture (B, 17, 2)).
        Raises:
            ValueError: another number of boxes than pictures.
        """
        boxes = torch.as_tensor(np.asarray(boxes), dtype=torch.float32)
        if boxes.shape != (len(pictures), 4):
            raise ValueError(
                f"`boxes` must be ({len(pictures)}, 4), one XYXY for each picture, got {tuple(boxes.shape)}."
            )
        boxes = with_margin(boxes)
        answers = self._answers(self.character_judge, crop_boxes(pixels_of(pictures), boxes))
        points = answers.pop("keypoints").unflatten(1, (-1, 2))
        points = points * (boxes[:, None, 2:] - boxes[:, None, :2]) + boxes[:, None, :2]
        values = {
            name: [self.attribute_names[name][index] for index in logits.argmax(-1).tolist()]
            for name, logits in answers.items()
        }
        return values, points

    def relation(self, pictures: Pictures, predicate: str) -> torch.Tensor:
        """(B,) probability that a picture shows, whole, what the predicate says.

        Args:
            predicate: words of the world: "hugging", "is shaking hands with", "playing guitar".
        Raises:
            ValueError: no pose of the world is called so; the known ones are named.
        """
        seen = self.look(pictures)
        return seen.probabilities[:, self.pose_names.index(self.pose_of(predicate))] * (1 - seen.broken)

    def pose_of(self, predicate: str) -> str:
        """The pose that a predicate means."""
        for spoken in (_plain, _bare):  # "dancing with" and "dancing" may be two
            for pose, words in self.predicates.items():
                if spoken(predicate) and spoken(predicate) == spoken(words):
                    return pose
        known = ", ".join(" ".join(_plain(words)) for words in self.predicates.values())
        raise ValueError(f"`predicate` must be a relation or action of the drawn world: {known}; got {predicate!r}.")

    def _answers(self, judge: Judge, pixels: torch.Tensor) -> dict[str, torch.Tensor]:
        parts = [judge(part.to(self.device)) for part in pixels.split(BATCH)]
        return {name: torch.cat([part[name].cpu() for part in parts]) for name in parts[0]}


def _plain(predicate: str) -> list[str]:
    """A predicate's words without what stands around them: "is hugging" and "hugging" are one."""
    return [word for word in predicate.lower().split() if word not in ("is", "are", "a", "an", "the")]


def _bare(predicate: str) -> list[str]:
    """The same without "with"."""
    return [word for word in _plain(predicate) if word != "with"]
