"""Tables: every system's mean of every column with its interval, and differences between systems on the same cases."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from ..cases import CaseFile
from ..metrics import Column, Scores
from .bootstrap import RESAMPLES, Interval, case_means, mean_interval, paired_difference
from .published import NOTE, PUBLISHED

HALVES = {"all": None, "one object": 1, "two objects": 2}


@dataclass(frozen=True)
class Table:
    """Figures of some cases.

    Attributes:
        title: which cases. columns: without those that no case of this half can have (one object is never exchanged).
        rows: system → column → interval, None where not defined. differences: "a − b" → likewise.
        missing: system → column → number of pictures without a figure.
    """

    title: str
    columns: list[Column]
    rows: dict[str, dict[str, Interval | None]]
    differences: dict[str, dict[str, Interval | None]]
    missing: dict[str, dict[str, int]]
    notes: list[str] = field(default_factory=list)


def build_table(
    scores: Scores,
    cases: CaseFile,
    half: str = "all",
    against: str | None = None,
    resamples: int = RESAMPLES,
) -> Table:
    """The table of a half of the cases.

    Args:
        half: key of `HALVES`. against: system that the others are compared with; None: the first.
    Raises:
        ValueError: `against` is none of the systems.
    """
    check_against(against, list(scores.values))
    chosen = [c.id for c in cases.cases if HALVES[half] is None or len(c.phrases) == HALVES[half]]
    means: dict[str, dict[str, dict[str, float]]] = {}
    missing: dict[str, dict[str, int]] = {}
    for system, by_case in scores.values.items():
        means[system], missing[system] = {}, {}
        for column in scores.columns:
            figures = {i: [v.figure for v in by_case[i].get(column.name, ())] for i in chosen if i in by_case}
            means[system][column.name] = case_means(figures)
            missing[system][column.name] = sum(v is None for values in figures.values() for v in values)
    rows = {
        system: {
            name: mean_interval([values[i] for i in sorted(values)], resamples) if values else None
            for name, values in found.items()
        }
        for system, found in means.items()
    }
    base = next(iter(means), None) if against is None else against
    differences = {
        f"{system} − {base}": {
            name: paired_difference(values, means[base][name], resamples) for name, values in found.items()
        }
        for system, found in means.items()
        if system != base
    }
    title = f"{half}, {len(chosen)} {'case' if len(chosen) == 1 else 'cases'}"
    defined = [c for c in scores.columns if half == "all" or any(found[c.name] for found in rows.values())]
    return Table(title, defined, rows, differences, missing, list(scores.notes))


def check_against(against: str | None, systems: Sequence[str]) -> None:
    """Raise a ValueError unless `against` is one of the systems, or None."""
    if against is not None and against not in systems:
        raise ValueError(f"`against` must be one of {', '.join(systems)}, got {against!r}.")


def halves(cases: CaseFile) -> list[str]:
    """The halves that the cases have; "all" alone when there is only one kind."""
    counts = {len(case.phrases) for case in cases.cases}
    found = [name for name, count in HALVES.items() if count in counts]
    return found if len(counts) == 1 and found else ["all", *found]


def compared_runs(runs: Sequence[tuple[str, Scores]]) -> Scores:
    """Systems of several runs in one, on the cases that all of them have; "run/system" where names clash.

    Raises:
        ValueError: the runs are of different case files or share no case, their columns mean different things, or two
            systems would have one name.
    """
    first_name, first = runs[0]
    values, notes = dict(first.values), list(first.notes)
    for name, scores in runs[1:]:
        if scores.fingerprint != first.fingerprint:
            raise ValueError(
                f"`{first_name}` and `{name}` are results of different case files ({first.fingerprint[:8]}, "
                f"{scores.fingerprint[:8]}): their means cannot be compared. Draw both from one file."
            )
        ours, theirs = ({c.name: c.key for c in s.columns} for s in (first, scores))
        if different := [n for n in ours.keys() & theirs.keys() if ours[n] != theirs[n]]:
            raise ValueError(
                f"`{first_name}` and `{name}` measure {', '.join(sorted(different))} differently (checkpoint, scale or "
                "pairing). Score both with the same options."
            )
        for system, found in scores.values.items():
            label = f"{name}/{system}" if system in values else system
            if label in values:
                raise ValueError(f"two systems would be called `{label}`. Give the runs names of their own.")
            values[label] = found
        notes += scores.notes
    shared = [c for c in first.columns if all(c.name in {d.name for d in s.columns} for _, s in runs)]
    return Scores(shared, _on_shared_cases(values, notes), first.fingerprint, notes)


def _on_shared_cases(values: dict[str, dict], notes: list[str]) -> dict[str, dict]:
    """Every system's figures of the cases that all have; a note tells what that leaves out."""
    ids = [set(by_case) for by_case in values.values()]
    shared, known = (set.intersection(*ids), set.union(*ids)) if ids else (set(), set())
    if not shared:
        raise ValueError(f"no case is scored for all of {', '.join(values)}. Draw them with the same `--limit`.")
    if shared != known:
        notes.append(f"Figures are of the {len(shared)} of {len(known)} cases that all systems have.")
    return {system: {i: found for i, found in by_case.items() if i in shared} for system, by_case in values.items()}


def markdown(tables: Sequence[Table], published: bool = False) -> str:
    """Tables as Markdown, with what every figure means below."""
    text = []
    for table in tables:
        names = [column.name for column in table.columns]
        text += [f"### {table.title}", "", "| system | " + " | ".join(names) + " |", "|---" * (len(names) + 1) + "|"]
        rows = [*table.rows.items(), *table.differences.items()]
        most = {name: max((found[name].cases for _, found in rows if found[name]), default=0) for name in names}
        text += [
            f"| {row} | " + " | ".join(_cell(found[c.name], c.digits, most[c.name]) for c in table.columns) + " |"
            for row, found in rows
        ]
        text += ["", *(f"{note}" for note in table.notes), ""]
    if published:
        for title, (columns, rows) in PUBLISHED.items():
            text += [f"### {title} ({NOTE})", "", "| method | " + " | ".join(columns) + " |"]
            text += ["|---" * (len(columns) + 1) + "|"]
            for row, figures in rows.items():
                text.append(f"| {row} | " + " | ".join("–" if v is None else f"{v:g}" for v in figures) + " |")
            text.append("")
    if tables:
        text += ["### What the figures mean", "", "| column | meaning | checkpoint | pictures | scale | pairing |"]
        text.append("|---|---|---|---|---|---|")
        for c in tables[0].columns:
            better = "" if c.higher_is_better else " (lower is better)"
            cells = (c.name, c.meaning + better, c.checkpoint, c.preprocessing, c.scale, c.pairing)
            text.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |")
    text += ["", "Means over cases [95 % bootstrap interval over cases]; differences are paired by case."]
    text += ["(n = …): of fewer cases than another row of the column; the others have no such figure."]
    return "\n".join(text) + "\n"


def _cell(interval: Interval | None, digits: int, most: int) -> str:
    """A figure, and of how many cases where another row of its column has more: a mean of survivors is told as one."""
    if interval is None:
        return "–"
    return interval.text(digits) + (f" (n = {interval.cases})" if interval.cases < most else "")
