"""Stage export: accepted candidates become a triplet folder, with provenance, thresholds and a card."""

import json
import shutil
from dataclasses import dataclass
from pathlib import Path

import torch

from ...relation_files import whole_folder
from ..card import CardFacts, dataset_card
from ..checking import triplet_faults
from ..engine.candidates import Candidate
from ..engine.work_folder import WorkFolder
from ..keys import refuse_keys
from ..reading import read_triplets
from ..triplet import KEYPOINT_ORDERS, Triplet
from ..writing import write_metadata
from .annotate import STAGES, refusals
from .decisions import Decision, decision_about, read_decisions
from .filter import Filter
from .thresholds import FILE, Thresholds

PROVENANCE = "provenance.jsonl"


@dataclass(frozen=True)
class ExportOptions:
    """What the user says about the data set.

    Attributes:
        accept_all: take what the filters accepted where nobody decided. licence: of the data set, as the Hub names
            licences. generator_licences: lines that the card repeats, "MODEL: LICENCE". people: whether photos show
            people who gave their consent.
    """

    accept_all: bool = False
    licence: str | None = None
    generator_licences: tuple[str, ...] = ()
    people: bool = False

    def __post_init__(self) -> None:
        refuse_keys("licence", [self.licence, self.generator_licences])


def export(work: WorkFolder, folder: str | Path, options: ExportOptions) -> CardFacts:
    """Write a triplet folder that `read_triplets` reads, whole or not at all.

    A decision about other pictures than the candidate has now is none, see `review_notes`.

    Raises:
        ValueError: nobody reviewed and `accept_all` is not set; nothing is left; a decision does not fit its candidate;
            records of boxes, pictures or thresholds that no longer hold, since stages did not run again to their end.
    """
    accepted, rules = refusals(work)
    lines, candidates = read_decisions(work.root), work.candidates()
    known = {candidate.id for candidate in candidates}
    if strangers := [name for name in lines if name not in known]:
        raise ValueError(f"decisions about candidates that are not there: {', '.join(strangers)}.")
    decisions = {c.id: decision for c in candidates if (decision := decision_about(c, lines)).accept is not None}
    if not decisions and not options.accept_all:
        raise ValueError(
            f"nobody has looked at the {len(accepted)} of {len(candidates)} candidates that the filters accepted. "
            f"Review them (`relationbooth triplets review {work.root}`), or pass `--accept_all` to take them unseen."
        )
    chosen = [c for c in candidates if _is_chosen(c, decisions.get(c.id), accepted, options.accept_all)]
    if not chosen:
        told = ", ".join(f"{rule} {count}" for rule, count in rules.most_common())
        raise ValueError(
            f"none of {len(candidates)} candidates is left. Refused by rule: {told or 'none'}; by hand: "
            f"{sum(d.accept is False for d in decisions.values())}. See `{work.root / 'filter'}`."
        )
    facts = CardFacts(
        predicates=sorted({c.predicate for c in chosen}),
        candidates=len(candidates),
        accepted=len(accepted),
        exported=len(chosen),
        reviewed=sum(c.id in decisions for c in chosen),
        rules=dict(rules.most_common()),
        thresholds=json.loads((work.root / FILE).read_text(encoding="utf-8")),
        annotators=_annotators(work, chosen),
        generators=sorted({p["model"] for c in chosen for p in _provenances(work, c) if p["model"]}),
        keypoint_orders=sorted({_order(work, c) for c in chosen} - {None}),
        licence=options.licence,
        generator_licences=options.generator_licences,
        people=options.people,
    )
    faults, triplets, last = [], [], Filter(work, Thresholds.read(work.root))
    for candidate in chosen:
        try:
            decision = decisions.get(candidate.id, Decision(candidate.id))
            triplets.append(_triplet(work, candidate, decision, _boxes_of_all(last, candidate)))
        except ValueError as error:
            faults.append(str(error))
    faults += [f"candidate {t.name}: {fault}" for t in triplets for fault in triplet_faults(t)]
    if faults:
        raise ValueError("\n".join(faults))
    with whole_folder(folder) as fresh:
        _write(work, fresh, chosen, triplets)
        shutil.copyfile(work.root / FILE, fresh / FILE)
        (fresh / "README.md").write_text(dataset_card(facts), encoding="utf-8")
        read_triplets(fresh)  # as whoever trains will
    return facts


def _is_chosen(candidate: Candidate, decision: Decision | None, accepted: list[str], accept_all: bool) -> bool:
    if decision is None or decision.accept is None:
        return accept_all and candidate.id in accepted
    return decision.accept


def _annotators(work: WorkFolder, candidates: list[Candidate]) -> dict[str, list[str]]:
    """{stage: checkpoints that made its records}."""
    found = {stage: sorted({str(work.record(stage, c.id)["annotator"]) for c in candidates}) for stage in STAGES}
    return {stage: names for stage, names in found.items() if names != ["None"]}


def _provenances(work: WorkFolder, candidate: Candidate) -> list[dict]:
    return [work.provenance(digest) for digest in candidate.pictures]


def _order(work: WorkFolder, candidate: Candidate) -> str | None:
    return work.record("keypoints", candidate.id)["order"]


def _boxes_of_all(last: Filter, candidate: Candidate) -> dict:
    """The boxes that hold, see `ReadsBoxes`, of which all of a candidate's records must be.

    Args:
        last: the stage that reads all the others, so that what it was made of tells whether any of them changed since.
    Raises:
        ValueError: a stage did not run again after what it reads had changed.
    """
    boxes = json.loads(json.dumps(last.boxes(candidate)))  # tuples → lists, as records have them
    for stage, done in (("segment", "its masks were cut"), ("keypoints", "its keypoints were found")):
        if last.record_of(stage, candidate)["boxes"] != boxes:
            raise ValueError(
                f"candidate {candidate.id}: its boxes were edited after {done}. Run `relationbooth triplets annotate` "
                f"to its end: stage {stage!r} runs again for such candidates alone."
            )
    if not last.work.is_done(last.name, candidate.id, last.inputs(candidate)):
        raise ValueError(
            f"candidate {candidate.id}: pictures, thresholds or what other stages found changed after stage "
            f"{last.name!r}. Run `relationbooth triplets annotate` to its end."
        )
    return boxes


def _triplet(work: WorkFolder, candidate: Candidate, decision: Decision, boxes: dict) -> Triplet:
    """The triplet of a candidate, its files still those of the work folder.

    Args:
        boxes: see `_boxes_of_all`.
    """
    caption, segment = work.record("caption", candidate.id), work.record("segment", candidate.id)
    for phrase, box, mask in zip(candidate.phrases, boxes["target"], segment["target"]):
        if box is None or mask is None:
            what = "box" if box is None else "mask"
            raise ValueError(
                f"candidate {candidate.id} was accepted, but {phrase!r} has no {what} in the target. Draw its box, or "
                "reject it."
            )
    points = {name: torch.tensor(values) for name, values in work.record("filter", candidate.id)["keypoints"].items()}
    points |= decision.keypoints or {}
    return Triplet(
        name=candidate.id,
        image=work.picture_path(candidate.target),
        image_prompts=[work.picture_path(digest) for digest in candidate.objects],
        prompt=decision.prompt or caption["prompt"],
        phrases=decision.phrases or caption["phrases"],
        predicate=caption["predicate"],
        boxes=torch.tensor(boxes["target"]),
        masks=[work.picture_path(digest) for digest in segment["target"]],
        keypoints=points["target"],
        image_prompt_keypoints=points["objects"],
        # where nobody looked for keypoints none is visible, and an order says nothing
        keypoint_order=_order(work, candidate) or KEYPOINT_ORDERS[0],
    )


def _write(work: WorkFolder, folder: Path, candidates: list[Candidate], triplets: list[Triplet]) -> None:
    """Pictures, masks, `metadata.jsonl` and `provenance.jsonl`."""
    lines, moved = [], []
    for candidate, triplet in zip(candidates, triplets):

        def copied(file: Path, name: str) -> Path:
            return Path(shutil.copyfile(file, folder / f"{name}.png"))

        names = [candidate.id, *(f"{candidate.id}_object_{i}" for i in range(len(candidate.objects)))]
        for name, digest in zip(names, candidate.pictures):
            lines.append({"file_name": f"{name}.png", "digest": digest, **work.provenance(digest)})
            lines += _ancestors(work, lines[-1]["parents"])
        moved.append(
            Triplet(
                **{**vars(triplet), "image": copied(triplet.image, names[0])}
                | {"image_prompts": [copied(f, n) for f, n in zip(triplet.image_prompts, names[1:])]}
                | {"masks": [copied(f, f"{candidate.id}_mask_{i}") for i, f in enumerate(triplet.masks)]}
            )
        )
    write_metadata(folder, moved)
    text = "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines)
    (folder / PROVENANCE).write_text(text, encoding="utf-8")


def _ancestors(work: WorkFolder, digests: list[str]) -> list[dict]:
    """Provenance of what a picture here was made from and what is not here itself: its object's cut-out."""
    own = [digest for digest in digests if work.picture_path(digest).with_suffix(".json").is_file()]  # masks have none
    return [{"file_name": None, "digest": digest, **work.provenance(digest)} for digest in own]
