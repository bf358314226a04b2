"""What the review shows of a work folder, and the lines that it adds to `decisions.jsonl`; nothing else is written."""

import json
import threading
from collections import Counter
from collections.abc import Mapping
from datetime import datetime, timezone
from functools import cache

from ...relation_layouts import missing_phrases
from ..annotation.decisions import DECISIONS, Decision, decision_about, decision_of, read_decisions
from ..annotation.segment import Segment
from ..engine.candidates import Candidate
from ..engine.work_folder import WorkFolder
from ..keys import refuse_keys
from ..line_files import add_line


class Desk:
    """The candidates of a work folder whose stages up to the filter have run.

    Raises:
        ValueError: there is none.
    """

    def __init__(self, work: WorkFolder):
        self.work, self._writing = work, threading.Lock()
        self.candidates = {c.id: c for c in work.candidates() if work.record("filter", c.id) is not None}
        if not self.candidates:
            raise ValueError(
                f"`{work.root}` holds no candidate that the filters have seen. Run `relationbooth triplets annotate` "
                "or `make` first."
            )
        self._size = cache(lambda digest: self.work.picture(digest).size)

    def listing(self) -> list[dict]:
        """Every candidate as the page draws it, JSON-ready."""
        decisions = read_decisions(self.work.root)
        return [self._shown(candidate, decisions) for candidate in self.candidates.values()]

    def pictures(self) -> set[str]:
        """Digests of the files that the page may ask for."""
        found: set[str] = set()
        for candidate in self.candidates.values():
            masks = self.work.record("segment", candidate.id)["target"]
            found |= {*candidate.pictures, *filter(None, masks)}
        return found

    def decide(self, values: dict) -> dict:
        """Add a decision; the candidate as it is shown from then on.

        Raises:
            ValueError: a fault of the decision, in words; nothing was written.
        """
        decision, faults = decision_of(values)
        candidate = self.candidates.get(decision.candidate) if decision else None
        if candidate is None:
            faults = [*faults, "`candidate` must be one of this folder's."]
        else:
            faults += _faults(candidate, decision, self.work.record("caption", candidate.id))
        refuse_keys("decision", values)
        if faults:
            raise ValueError(" ".join(faults))
        known = ("candidate", "decision", "exchanged", "boxes", "keypoints", "prompt", "phrases")
        line = {name: values[name] for name in known if values.get(name) is not None}
        line["pictures"] = [*candidate.pictures]
        line["time"] = datetime.now(timezone.utc).isoformat(timespec="seconds")
        with self._writing:
            add_line(self.work.root / DECISIONS, line)
        return self._shown(candidate, read_decisions(self.work.root))

    def counts(self) -> Counter:
        """How many candidates are accepted, rejected, undecided, and edited so that the stages must run again."""
        listing = self.listing()
        found = Counter(entry["decision"] or "undecided" for entry in listing)
        found["stale"] = sum(entry["is_stale"] for entry in listing if entry["decision"] == "accept")
        return found

    def _shown(self, candidate: Candidate, decisions: Mapping[str, Decision]) -> dict:
        decision = decision_about(candidate, decisions)
        records = {stage: self.work.record(stage, candidate.id) for stage in ("segment", "filter", "caption")}
        boxes = json.loads(json.dumps(Segment(self.work).boxes(candidate)))  # tuples → lists
        cut = records["segment"]["boxes"]["target"]
        masks, points = records["segment"]["target"], records["filter"]["keypoints"]
        if cut != boxes["target"] and cut[::-1] == boxes["target"]:  # exchanged since: they only change places
            masks, points = masks[::-1], {**points, "target": points["target"][::-1]}
        edited = {name: value.tolist() for name, value in (decision.keypoints or {}).items()}
        return {
            "id": candidate.id,
            "predicate": records["caption"]["predicate"],
            "prompt": decision.prompt or records["caption"]["prompt"],
            "phrases": decision.phrases or records["caption"]["phrases"],
            "target": self._picture(candidate.target),
            "objects": [self._picture(digest) for digest in candidate.objects],
            "boxes": boxes["target"],
            "boxes_alone": boxes["objects"],
            "masks": masks,
            "keypoints": {**points, **edited},
            "accepted": records["filter"]["accepted"],
            "reasons": records["filter"]["reasons"],
            "figures": records["filter"]["figures"],
            "decision": None if decision.accept is None else ("accept" if decision.accept else "reject"),
            "exchanged": decision.exchanged,
            "edited": {"boxes": decision.boxes is not None, "keypoints": bool(edited)},
            "is_outdated": decision.accept is None and candidate.id in decisions,
            "is_stale": cut != boxes["target"],
        }

    def _picture(self, digest: str) -> dict:
        width, height = self._size(digest)
        return {"digest": digest, "width": width, "height": height}


def _faults(candidate: Candidate, decision: Decision, caption: dict) -> list[str]:
    """What a decision's own lines cannot tell: whether it fits its candidate."""
    count, found = len(candidate.phrases), []
    if not decision.is_about(candidate):
        found.append("`pictures` must be those that the folder holds now. Reload the page, and look again.")
    if decision.exchanged and count != 2:
        found.append(f"`exchanged` is for two objects, this candidate has {count}.")
    lengths = {"boxes": decision.boxes, "phrases": decision.phrases, **(decision.keypoints or {})}
    found += [
        f"`{name}` must be one per object ({count}), got {len(value)}."
        for name, value in lengths.items()
        if value is not None and len(value) != count
    ]
    prompt, phrases = decision.prompt or caption["prompt"], decision.phrases or caption["phrases"]
    for words in missing_phrases([*phrases, caption["predicate"]], prompt):
        found.append(f"{words!r} must stand in the sentence {prompt!r} as whole words.")
    return found
