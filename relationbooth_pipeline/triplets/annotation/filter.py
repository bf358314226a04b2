"""Stage filter: every rule on what the stages before found; pure arithmetic, so thresholds may change afterwards."""

import numpy as np
import torch

from ..engine.candidates import Candidate
from ..engine.work_folder import WorkFolder
from .find import ReadsBoxes
from .keypoint_rules import inside_own_mask, seen
from .rules import Evidence, findings
from .thresholds import Thresholds


class Filter(ReadsBoxes):
    """{"accepted", "reasons": the rules that refuse, each with figure, threshold (null: of what is not there) and
    sentence; "figures": of every rule; "keypoints": {"target", "objects": N × 17 × [x, y, visible]}}."""

    name = "filter"
    reads = ("find", "segment", "keypoints", "likeness", "relation")

    def __init__(self, work: WorkFolder, thresholds: Thresholds):
        super().__init__(work)
        self.thresholds = thresholds

    def settings(self, candidate: Candidate) -> object:
        return [self.boxes(candidate), self.thresholds.describe(), bool(self.decision(candidate).boxes)]

    def record(self, candidate: Candidate) -> dict:
        evidence = self.evidence(candidate)
        found = list(findings(evidence, self.thresholds))
        figures: dict[str, dict] = {}
        for finding in found:
            figures.setdefault(finding.rule, {})["target" if finding.object is None else str(finding.object)] = (
                finding.figure
            )
        reasons = [finding.as_record() for finding in found if not finding.passed]
        return {
            "accepted": not reasons,
            "reasons": reasons,
            "figures": figures,
            "keypoints": {
                "target": self._visible(evidence.keypoints, evidence.masks, evidence.boxes),
                "objects": self._visible(evidence.keypoints_alone, evidence.masks_alone, evidence.boxes_alone),
            },
        }

    def evidence(self, candidate: Candidate) -> Evidence:
        """All that the stages found, with masks as arrays."""
        find, segment, keypoints, likeness, relation = (self.record_of(stage, candidate) for stage in self.reads)
        boxes, decision = self.boxes(candidate), self.decision(candidate)
        found, taken = list(find["target"]), list(find["taken"]["target"])
        if decision.exchanged:
            found.reverse()
            taken.reverse()
        return Evidence(
            phrases=candidate.phrases,
            found=found,
            found_alone=find["objects"],
            taken=taken,
            taken_alone=find["taken"]["objects"],
            boxes=boxes["target"],
            boxes_alone=boxes["objects"],
            masks=[self._mask(digest) for digest in segment["target"]],
            masks_alone=[self._mask(digest) for digest in segment["objects"]],
            keypoints=torch.tensor(keypoints["target"]),
            keypoints_alone=torch.tensor(keypoints["objects"]),
            has_keypoints=keypoints["order"] is not None,
            similarity=likeness["similarity"],
            pixels=likeness["pixels"],
            relation=(relation["target"], relation["objects"]),
            judged_by_hand=decision.boxes is not None or decision.exchanged,
        )

    def _mask(self, digest: str | None) -> np.ndarray | None:
        return None if digest is None else self.work.mask(digest)

    def _visible(self, keypoints: torch.Tensor, masks: list, boxes: list) -> list:
        """x and y of what counts and a 1; zeros for the rest, which is unseen."""
        counts = seen(keypoints, self.thresholds) & inside_own_mask(keypoints, masks, boxes, self.thresholds)
        points = torch.cat([keypoints[..., :2], torch.ones_like(keypoints[..., :1])], dim=-1)
        return torch.where(counts[..., None], points, torch.zeros(())).tolist()
