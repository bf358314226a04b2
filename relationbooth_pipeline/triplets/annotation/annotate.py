"""The chain find … filter on the candidates of a work folder, and pictures that exist made candidates."""

from collections import Counter
from collections.abc import Sequence

from ...parallel import Share
from ...relation_images import open_image
from ..annotators import Choice
from ..engine.candidates import Candidate
from ..engine.work_folder import WorkFolder, inputs_digest
from ..photos import PictureRow
from .caption import Caption
from .filter import Filter
from .find import Find
from .keypoints import Keypoints
from .likeness import LikenessStage
from .relation import Relation
from .segment import Segment
from .stage import Stage, Told
from .thresholds import Thresholds

# Stage → role of its annotator; in the order in which they run. The last needs none.
STAGES: dict[str, tuple[type[Stage], str | None]] = {
    "find": (Find, "boxes"),
    "segment": (Segment, "masks"),
    "keypoints": (Keypoints, "keypoints"),
    "caption": (Caption, "captions"),
    "likeness": (LikenessStage, "likeness"),
    "relation": (Relation, "judge"),
    "filter": (Filter, None),
}
PLAN = {"source": "pictures"}


def keep_pictures(work: WorkFolder, rows: Sequence[PictureRow]) -> list[Candidate]:
    """Copy pictures that exist into a work folder, as candidates; the same rows twice change nothing.

    Raises:
        ValueError: the folder is another plan's, or holds candidates that are not among the rows.
    """
    work.claim(PLAN)
    others = sorted({candidate.id for candidate in work.candidates()} - {row.id for row in rows})
    if others:
        raise ValueError(
            f"the work folder `{work.root}` is about other pictures too ({', '.join(others[:5])}). Choose another "
            "`--work`, or give all of its pictures."
        )
    candidates = []
    for row in rows:

        def kept(file) -> str:
            source = {
                "model": None,
                "prompt": None,
                "seed": None,
                "parents": [],
                "request_id": None,
                "source": file.name,
            }
            return work.keep_picture(open_image(file), source)

        candidate = Candidate(
            row.id,
            row.predicate,
            row.predicate,
            row.phrases,
            row.prompt,
            kept(row.target),
            tuple(map(kept, row.objects)),
        )
        record = candidate.as_record()
        digest = inputs_digest("given", record)
        if not work.is_done("given", row.id, digest):
            work.write_record("given", row.id, {"inputs": digest, **record})
        candidates.append(candidate)
    return sorted(candidates, key=lambda candidate: candidate.id)


def annotate(
    work: WorkFolder,
    choices: dict[str, Choice | None],
    thresholds: Thresholds,
    share: Share = Share(),  # noqa: B008 - frozen
    until: str = "filter",
    told: Told = lambda stage, done, count: None,
) -> dict[str, int]:
    """Run the stages on this process's share of the candidates; whoever is done is passed over.

    Args:
        choices: by role, see `choose_all`. until: the last stage to run.
    Returns:
        {stage: records made}.
    Raises:
        ValueError: unknown stage.
    """
    if until not in STAGES:
        raise ValueError(f"`until` must be one of {', '.join(STAGES)}, got {until!r}.")
    candidates, made = share.part(work.candidates()), {}
    thresholds.write(work.root)
    for name, (stage, role) in STAGES.items():
        given = thresholds if stage is Filter else choices[role]
        made[name] = stage(work, given).run(candidates, told)
        if name == until:
            break
    return made


def refusals(work: WorkFolder) -> tuple[list[str], Counter]:
    """Ids of the candidates that the filters accept, and how many each rule refuses.

    Raises:
        ValueError: candidates that no filter has seen.
    """
    accepted, rules, unseen = [], Counter(), []
    for candidate in work.candidates():
        record = work.record("filter", candidate.id)
        if record is None:
            unseen.append(candidate.id)
        elif record["accepted"]:
            accepted.append(candidate.id)
        else:
            rules.update({reason["rule"] for reason in record["reasons"]})
    if unseen:
        raise ValueError(
            f"{len(unseen)} candidates of `{work.root}` are not filtered yet ({', '.join(unseen[:5])}). Run "
            "`relationbooth triplets annotate` to its end, every shard of it."
        )
    return accepted, rules
