"""Votes of people who compared two systems blind: a JSON lines file, and what it says with an interval over cases."""

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path

from ...triplets.line_files import add_line, split_torn
from ..statistics import mean_interval

VOTES = "votes.jsonl"
CHOICES = ("first", "second", "tie")


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
        ValueError: a whole line that is no vote.
    """
    if not path.is_file():
        return Votes([])
    latest, (whole, torn) = {}, split_torn(path)
    notes = [f"the last line of `{path.name}` was torn off and is left out."] if torn.strip() else []
    texts = [text for text in whole.decode("utf-8-sig").split("\n") if text.strip()]
    for number, text in enumerate(texts, start=1):
        try:
            vote = Vote(**json.loads(text))
            if vote.choice not in CHOICES:
                raise ValueError(f"`choice` must be one of {', '.join(CHOICES)}, got {vote.choice!r}")
        except (ValueError, TypeError) as error:
            raise ValueError(f"`{path}`: line {number} is no vote ({error}). Correct or remove it.") from error
        latest[vote.voter, vote.case, vote.number, frozenset((vote.first, vote.second))] = vote
    return Votes(list(latest.values()), notes)


def add_vote(path: Path, vote: Vote) -> None:
    """Add a line, which is on the disk when this returns; several servers may vote into one file.

    Raises:
        ValueError: no such choice. OSError: the disk is full; the file is as it was.
    """
    if vote.choice not in CHOICES:
        raise ValueError(f"`choice` must be one of {', '.join(CHOICES)}, got {vote.choice!r}.")
    from filelock import FileLock  # huggingface_hub brings it

    with FileLock(path.with_name(f".{path.name}.lock")):
        add_line(path, asdict(vote))
