"""What a person decided about candidates: the lines of `decisions.jsonl`, of which a candidate's last one holds."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import torch

from ...relation_regions import check_box
from ..engine.candidates import Candidate
from ..engine.work_folder import WorkFolder
from ..fields import Record, as_text, read_json
from ..line_files import split_torn
from ..triplet import KEYPOINT_COUNT

DECISIONS = "decisions.jsonl"


@dataclass(frozen=True)
class Decision:
    """One candidate's last line. What is None was not changed.

    Attributes:
        accept: None: nobody decided. exchanged: the two objects' places in the target change; boxes and keypoints of
            the same line are those after that.
        boxes: of the target's objects, XYXY in [0, 1]. keypoints: (N, 17, 3) by "target" and "objects".
        prompt, phrases: words. pictures: digests of what the person looked at, as `Candidate.pictures`.
    """

    candidate: str
    accept: bool | None = None
    exchanged: bool = False
    boxes: list[list[float]] | None = None
    keypoints: dict[str, torch.Tensor] | None = None
    prompt: str | None = None
    phrases: list[str] | None = None
    pictures: list[str] | None = None

    def is_about(self, candidate: Candidate) -> bool:
        """Whether the candidate's pictures are still those that the person looked at.

        A line without pictures, as earlier versions wrote it, holds for whatever is there: no review of then is lost.
        """
        known = [*candidate.pictures]  # the target alone, while its objects are not drawn
        return self.pictures is None or self.pictures[: len(known)] == known


def read_decisions(root: Path) -> dict[str, Decision]:
    """The last decision of every candidate that somebody decided about; a torn last line is passed over.

    Raises:
        ValueError: one line for each fault of the file, by its line.
    """
    whole, _ = split_torn(root / DECISIONS)
    found, faults = {}, []
    for number, line in enumerate(as_text(whole, DECISIONS).split("\n"), start=1):
        if not line.strip():
            continue
        try:
            decision, wrong = decision_of(read_json(line))
        except ValueError as error:
            decision, wrong = None, [str(error)]
        faults += [f"{DECISIONS} line {number}: {fault}" for fault in wrong]
        if decision is not None and not wrong:
            found[decision.candidate] = decision
    if faults:
        raise ValueError("\n".join(faults))
    return found


def decision_about(candidate: Candidate, decisions: Mapping[str, Decision]) -> Decision:
    """What holds for a candidate; nothing where nobody decided, or about other pictures than it has now."""
    found = decisions.get(candidate.id)
    return found if found is not None and found.is_about(candidate) else Decision(candidate.id)


def review_notes(work: WorkFolder) -> Iterator[str]:
    """What of the review no longer fits what it was about, a sentence each: other pictures, or other words since.

    Raises:
        ValueError: as `read_decisions`.
    """
    decisions = read_decisions(work.root)
    for candidate in work.candidates():
        decision, caption = decisions.get(candidate.id), work.record("caption", candidate.id)
        if decision is None:
            continue
        if not decision.is_about(candidate):
            yield (
                f"candidate {candidate.id}: decided about another picture, so the decision is not applied. Look again: "
                f"`relationbooth triplets review {work.root}`."
            )
        elif decision.accept and caption is not None:
            for name, words in (("prompt", decision.prompt), ("phrases", decision.phrases)):
                if words is not None and words != caption[name]:
                    yield (
                        f"candidate {candidate.id}: `{name}` is {words!r} as the review has it, not {caption[name]!r}. "
                        f"To change that: `relationbooth triplets review {work.root}`."
                    )


def decision_of(values: object) -> tuple[Decision, list[str]]:
    """The decision that a line's fields say, and what is wrong with them."""
    record = Record(values)
    candidate, word = record.text("candidate"), record.text("decision")
    faults = record.faults
    if word not in (None, "accept", "reject"):
        faults.append(f"`decision` must be accept or reject, got {word!r}.")
    given = values if isinstance(values, dict) else {}
    exchanged = given.get("exchanged") or False
    if not isinstance(exchanged, bool):
        faults.append(f"`exchanged` must be true or false, got {exchanged!r}.")
    boxes = None
    if given.get("boxes") is not None:
        boxes = record.numbers("boxes", "N × [x0, y0, x1, y1], numbers in [0, 1]", depth=2)
        for box in [] if boxes is None else boxes.tolist():
            try:
                check_box(box)
            except ValueError as error:
                faults.append(str(error))
    keypoints = _keypoints(given["keypoints"], faults) if given.get("keypoints") is not None else None
    prompt = record.text("prompt") if given.get("prompt") is not None else None
    phrases = record.texts("phrases", optional=True)
    pictures = record.texts("pictures", optional=True)
    places = None if boxes is None else boxes.tolist()
    return Decision(candidate, word == "accept", exchanged, places, keypoints, prompt, phrases, pictures), faults


def _keypoints(values: object, faults: list[str]) -> dict[str, torch.Tensor]:
    record = Record(values)
    found = {}
    for name in ("target", "objects"):
        if name not in record:
            continue
        points = record.numbers(name, f"N × {KEYPOINT_COUNT} × [x, y, visible], numbers in [0, 1]", depth=3)
        if points is None:
            continue
        if points.shape[1:] != (KEYPOINT_COUNT, 3) or not (points.min() >= 0 and points.max() <= 1):
            record.faults.append(f"`{name}` must be N × {KEYPOINT_COUNT} × [x, y, visible], numbers in [0, 1].")
        else:
            found[name] = points
    faults += [f"`keypoints`: {fault}" for fault in record.faults]
    return found
