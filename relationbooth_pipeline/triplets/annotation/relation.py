"""Stage relation: whether the relation happens in the target, and in no object's own picture."""

from ..annotators import RelationJudge
from ..engine.candidates import Candidate
from .stage import Stage


class Relation(Stage[RelationJudge]):
    """{"target": P(Yes), "objects": P(Yes) of each object's picture}; null without a judge."""

    name = "relation"

    def record(self, candidate: Candidate) -> dict:
        if self.annotator is None:
            return {"target": None, "objects": [None] * len(candidate.objects)}

        def asked(digest: str) -> float:
            picture = self.work.picture(digest)
            return float(self.annotator.probability(picture, candidate.phrases, candidate.predicate))

        return {"target": asked(candidate.target), "objects": [asked(digest) for digest in candidate.objects]}
