"""What the drawn world's judges say of pictures of its characters: whether the relation is there, and whole."""

from collections.abc import Sequence

from PIL import Image

from ...miniature.judges import MiniatureJudges
from ...miniature.towers import MiniatureTowers
from ..cases import Case, CaseFile, case_predicate
from .metric import Column, Metric, Value


def check_words(cases: CaseFile, predicate_rule: str) -> None:
    """Refuse cases that the miniature's towers could not read, before anything is drawn.

    Raises:
        ValueError: a prompt or predicate with a word that the drawn world does not have; the known ones are named.
    """
    towers = MiniatureTowers.load()
    for case in cases.cases:
        predicate, _ = case_predicate(case, predicate_rule)
        try:
            towers.check_words([case.prompt, *([predicate] if predicate else [])])
        except ValueError as error:
            raise ValueError(f"case {case.id}: {error} Name a CLIP model by `--clip`.") from error


class DrawnWorld(Metric):
    """Judges that were trained on renders alone: the nearest to the truth that a drawn picture has.

    They share nothing with the towers that stand where CLIP and DINO stand, nor with the pipeline.
    """

    def __init__(self, judges: MiniatureJudges):
        self.judges = judges
        common = {"checkpoint": judges.checkpoint, "preprocessing": "squashed to 128×128 bicubic"}
        relation = "The picture shows the case's relation, by the judge of pictures; it may also say none."
        self.columns = (
            Column("relation judged", relation, scale="1 or 0", pairing="likeliest pose = predicate", **common),
            Column(
                "broken",
                "Probability that the drawing itself is damaged: parts missing, melted, pieced together.",
                scale="P(broken)",
                higher_is_better=False,
                **common,
            ),
        )

    def score(self, cases: CaseFile, case: Case, pictures: Sequence[Image.Image]) -> dict[str, list[Value]]:
        seen = self.judges.look(list(pictures))
        predicate, _ = case_predicate(case)
        try:
            pose = self.judges.pose_of(predicate or "")
        except ValueError as error:
            relation = [Value(None, str(error))] * len(pictures)
        else:
            relation = [Value(float(found == pose), f"seen: {found}") for found in seen.poses]
        return {"relation judged": relation, "broken": [Value(broken) for broken in seen.broken.tolist()]}
