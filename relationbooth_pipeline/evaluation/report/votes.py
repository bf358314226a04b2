"""Votes of people who compared two systems blind: a JSON lines file, and what it says with an interval over cases."""

import json
import threading
from dataclasses import asdict, dataclass, field
from pathlib import Path

from ...relation_files import whole_file
from ..statistics import mean_interval

VOTES = "votes.jsonl"
CHOICES = ("first", "second", "tie")
_LOCK = threading.Lock()


@dataclass(frozen=True)
class Vote:
    """One answer. `choice` is of the systems, not of where they stood: `CHOICES`."""

    voter: str
    case: str
    number: int
    first: str
    second: str
    choice: str


@dataclass
class Votes:
    """All votes of a run, the last of each voter on each pair of pictures.

    Attributes:
        notes: lines that were left out, and why.
    """

    votes: list[Vote]
    notes: list[str] = field(default_factory=list)

    def preference(self, first: str, second: str) -> dict[str, float]:
        """Case → share of votes that preferred `first`; a tie counts half."""
        worth = {"first": 1.0, "second": 0.0, "tie": 0.5}
        by_case: dict[str, list[float]] = {}
        for vote in self.votes:
            if (vote.first, vote.second) == (first, second):
                by_case.setdefault(vote.case, []).append(worth[vote.choice])
            elif (vote.first, vote.second) == (second, first):
                by_case.setdefault(vote.case, []).append(1 - worth[vote.choice])
        return {case: sum(values) / len(values) for case, values in by_case.items()}

    def lines(self) -> list[str]:
        """A sentence for each pair of systems that was compared."""
        pairs = dict.fromkeys(tuple(sorted((vote.first, vote.second))) for vote in self.votes)
        found = []
        for first, second in pairs:
            shares = self.preference(first, second)
            interval = mean_interval([shares[case] for case in sorted(shares)])
            count = sum({vote.first, vote.second} == {first, second} for vote in self.votes)
            voters = len({vote.voter for vote in self.votes if {vote.first, vote.second} == {first, second}})
            found.append(
                f"{first} preferred over {second}: {interval.text(2)} of votes, ties half ({count} votes of {voters} "
                f"people on {interval.cases} cases)"
            )
        return found + self.notes


def read_votes(path: Path) -> Votes:
    """Votes of a file; none when it is not there. A torn last line is left out, and told.

    Raises:
        ValueError: a line in the middle that is no vote.
    """
    if not path.is_file():
        return Votes([])
    latest, notes = {}, []
    texts = [text for text in path.read_text(encoding="utf-8-sig").split("\n") if text.strip()]
    for number, text in enumerate(texts, start=1):
        try:
            vote = Vote(**json.loads(text))
            if vote.choice not in CHOICES:
                raise ValueError(f"`choice` must be one of {', '.join(CHOICES)}, got {vote.choice!r}")
        except (ValueError, TypeError) as error:
            if number < len(texts):
                raise ValueError(f"`{path}`: line {number} is no vote ({error}). Correct or remove it.") from error
            notes.append(f"the last line of `{path.name}` was torn off and is left out.")
            continue
        latest[vote.voter, vote.case, vote.number, frozenset((vote.first, vote.second))] = vote
    return Votes(list(latest.values()), notes)


def add_vote(path: Path, vote: Vote) -> None:
    """Add a line; the file is replaced whole, so a crash loses at most this vote.

    Raises:
        ValueError: no such choice.
    """
    if vote.choice not in CHOICES:
        raise ValueError(f"`choice` must be one of {', '.join(CHOICES)}, got {vote.choice!r}.")
    with _LOCK:
        before = path.read_text(encoding="utf-8") if path.is_file() else ""
        if before and not before.endswith("\n"):
            before = before[: before.rfind("\n") + 1]  # a torn line of someone who appended
        with whole_file(path) as temporary:
            temporary.write_text(before + json.dumps(asdict(vote), ensure_ascii=False) + "\n", encoding="utf-8")
