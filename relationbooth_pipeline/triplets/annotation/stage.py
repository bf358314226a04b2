"""A stage: what it reads of a candidate, what it writes, and the one model that it needs meanwhile."""

import gc
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import ClassVar, Generic, TypeVar

import torch

from ..annotators import Annotator, Choice
from ..engine.candidates import Candidate
from ..engine.work_folder import WorkFolder, inputs_digest
from .decisions import Decision, decision_about, read_decisions

A = TypeVar("A", bound=Annotator)
Told = Callable[[str, int, int], None]  # (stage, done, of how many)


class Stage(ABC, Generic[A]):
    """Writes one record for each candidate; a record made of the same inputs is not made again.

    Attributes:
        name: folder of its records. reads: stages whose records its inputs hold.
        annotator: the loaded model, None before and after the run, or without one.
    """

    name: ClassVar[str]
    reads: ClassVar[tuple[str, ...]] = ()

    def __init__(self, work: WorkFolder, choice: Choice[A] | None = None):
        self.work, self.choice = work, choice
        self.annotator: A | None = None
        self._decisions: dict[str, Decision] | None = None

    def settings(self, candidate: Candidate) -> object:
        """What else the record depends on, JSON-ready."""
        return None

    @abstractmethod
    def record(self, candidate: Candidate) -> dict:
        """What the stage finds; its `inputs` and the `annotator` that found it are added."""

    def inputs(self, candidate: Candidate) -> str:
        """Digest of all that the record is made of."""
        before = [self.record_of(stage, candidate) for stage in self.reads]
        checkpoint = None if self.choice is None else self.choice.checkpoint
        return inputs_digest(self.name, candidate.as_record(), before, checkpoint, self.settings(candidate))

    def record_of(self, stage: str, candidate: Candidate) -> dict:
        """A record of a stage before.

        Raises:
            ValueError: that stage did not run.
        """
        record = self.work.record(stage, candidate.id)
        if record is None:
            raise ValueError(f"candidate {candidate.id}: stage {self.name!r} needs stage {stage!r}. Run it first.")
        return record

    def decision(self, candidate: Candidate) -> Decision:
        """What a reviewer changed; nothing before the review, or where it was about other pictures."""
        if self._decisions is None:
            self._decisions = read_decisions(self.work.root)
        return decision_about(candidate, self._decisions)

    def run(self, candidates: Sequence[Candidate], told: Told = lambda stage, done, count: None) -> int:
        """Make the records that are missing or of other inputs; how many. The model loads only when there is one."""
        todo = [c for c in candidates if not self.work.is_done(self.name, c.id, self.inputs(c))]
        if not todo:
            return 0
        try:
            if self.choice is not None:
                self.annotator = self.choice.load()
            for number, candidate in enumerate(todo):
                told(self.name, number, len(todo))
                by = None if self.annotator is None else self.annotator.checkpoint
                record = {"inputs": self.inputs(candidate), "annotator": by, **self.record(candidate)}
                self.work.write_record(self.name, candidate.id, record)
            told(self.name, len(todo), len(todo))
        finally:
            self._free()
        return len(todo)

    def _free(self) -> None:
        if self.annotator is None:
            return
        self.annotator.free()
        self.annotator = None
        gc.collect()
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
