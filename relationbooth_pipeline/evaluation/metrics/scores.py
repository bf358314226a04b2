"""Scores of a run: one file a system and case, written whole, made again only where a metric or picture changed."""

import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

from ...relation_images import open_image
from ..cases import Case, CaseFile
from ..systems.pictures import picture_path, write_json
from .features import picture_digest
from .metric import DIGITS, Column, Metric, Value

SCORES, COLUMNS = "scores", "columns.json"


def score_path(root: Path, system: str, case_id: str) -> Path:
    return root / SCORES / system / f"{case_id}.json"


def score_case(
    root: Path, system: str, cases: CaseFile, case: Case, count: int, metrics: Sequence[Metric]
) -> dict[str, list[Value]]:
    """Score a case's pictures, keep the file, and give {column: a value for each picture} of these metrics.

    Raises:
        ValueError: a picture is not there yet.
    """
    paths = [picture_path(root, system, case.id, number) for number in range(count)]
    if missing := [str(path) for path in paths if not path.is_file()]:
        raise ValueError(f"pictures of {system!r} are missing: {', '.join(missing[:3])}. Draw them first.")
    pictures = [open_image(path) for path in paths]
    digests, path = [picture_digest(picture) for picture in pictures], score_path(root, system, case.id)
    base = {"system": system, "case": case.id, "case_digest": cases.digest(case), "pictures": digests}
    kept = _kept(path, base)
    found: dict[str, list[Value]] = {}
    for metric in metrics:
        known = [kept.get(column.name) for column in metric.columns]
        if all(entry and entry["key"] == column.key for entry, column in zip(known, metric.columns)):
            found |= {c.name: [Value(*v) for v in entry["values"]] for c, entry in zip(metric.columns, known)}
        else:
            found |= metric.score(cases, case, pictures)
    keys = {column.name: column.key for metric in metrics for column in metric.columns}
    columns = {
        name: {"key": keys[name], "values": [[_rounded(value.figure), value.note] for value in values]}
        for name, values in found.items()
    }
    document = {**base, "columns": {**kept, **columns}}  # of metrics that this run does without, too: keys tell theirs
    if not path.is_file() or json.loads(path.read_text(encoding="utf-8")) != document:
        write_json(document, path)
    return found


def _rounded(figure: float | None) -> float | None:
    return None if figure is None else round(float(figure), DIGITS)


def _kept(path: Path, base: dict) -> dict:
    """Columns of a file that is of the same pictures and case; else none."""
    if not path.is_file():
        return {}
    document = json.loads(path.read_text(encoding="utf-8"))
    return document["columns"] if all(document.get(name) == value for name, value in base.items()) else {}


def keep_columns(root: Path, metrics: Iterable[Metric]) -> None:
    """Write what every figure means beside the scores."""
    columns = [asdict(column) for metric in metrics for column in metric.columns]
    path = root / SCORES / COLUMNS
    if not path.is_file() or json.loads(path.read_text(encoding="utf-8")) != columns:
        write_json(columns, path)


@dataclass
class Scores:
    """All scores of a run.

    Attributes:
        columns: in their order. values: system → case id → column → a value for each picture.
        fingerprint: of the case file; only equal ones are compared. notes: what a reader must know (dropped lines).
    """

    columns: list[Column]
    values: dict[str, dict[str, dict[str, list[Value]]]]
    fingerprint: str
    notes: list[str] = field(default_factory=list)

    def lines(self) -> list[str]:
        """JSON lines: a head with fingerprint and columns, then a line a picture, in a fixed order."""
        head = {"relationbench": 1, "fingerprint": self.fingerprint, "columns": [asdict(c) for c in self.columns]}
        lines = [json.dumps(head, ensure_ascii=False)]
        for system, by_case in self.values.items():
            for case, by_column in sorted(by_case.items()):
                for number in range(len(next(iter(by_column.values()), []))):
                    figures = {name: values[number].figure for name, values in by_column.items()}
                    notes = {name: values[number].note for name, values in by_column.items() if values[number].note}
                    line = {"system": system, "case": case, "number": number, "figures": figures, "notes": notes}
                    lines.append(json.dumps(line, ensure_ascii=False))
        return lines


def read_scores(root: Path, cases: CaseFile, systems: Sequence[str], count: int, partial: bool = False) -> Scores:
    """Scores of a run's folder.

    Args:
        partial: leave out cases that are not scored yet; else they are an error.
    Raises:
        ValueError: scores are missing; their number is told.
    """
    columns = [Column(**column) for column in json.loads((root / SCORES / COLUMNS).read_text(encoding="utf-8"))]
    known, values, missing = {column.name: column.key for column in columns}, {}, []
    for system in systems:
        values[system] = {}
        for case in cases.cases:
            path = score_path(root, system, case.id)
            if not path.is_file():
                missing.append(f"{system}/{case.id}")
                continue
            found = json.loads(path.read_text(encoding="utf-8"))
            if len(found["pictures"]) < count or any(
                name not in found["columns"] or found["columns"][name]["key"] != key for name, key in known.items()
            ):
                missing.append(f"{system}/{case.id}")
                continue
            values[system][case.id] = {n: [Value(*v) for v in found["columns"][n]["values"]] for n in known}
    notes = []
    if missing:
        text = f"{len(missing)} of {len(systems) * len(cases.cases)} system-case pairs are not scored yet"
        if not partial:
            raise ValueError(
                f"{text} (first: {', '.join(missing[:3])}). Finish the run (all shards), or pass `--partial`."
            )
        notes.append(f"{text}: figures are of the others.")
    return Scores(columns, values, cases.fingerprint, notes)


def read_lines(path: str | Path) -> Scores:
    """Scores of a JSON lines file as `Scores.lines` gives them, of this program or another.

    A last line that a crash tore off is dropped, and `notes` says so.

    Raises:
        ValueError: no such file, no head, or a line that is none in the middle.
    """
    path = Path(path)
    if not path.is_file():
        raise ValueError(f"no results at `{path}`. `relationbooth evaluate run` writes them.")
    texts = path.read_text(encoding="utf-8-sig").split("\n")
    texts, lines, notes = [text for text in texts if text.strip()], [], []
    for number, text in enumerate(texts, start=1):
        try:
            lines.append(json.loads(text))
        except ValueError as error:
            if number < len(texts) or number == 1:
                raise ValueError(f"`{path}`: line {number} is no JSON ({error}). Restore the file.") from error
            notes.append(f"the last line of `{path}` was torn off and is left out.")
    try:
        head, values = lines[0], {}
        columns = [Column(**column) for column in head["columns"]]
        for line in lines[1:]:
            by_column = values.setdefault(line["system"], {}).setdefault(line["case"], {})
            for name, figure in line["figures"].items():
                by_column.setdefault(name, []).append(Value(figure, line.get("notes", {}).get(name, "")))
        return Scores(columns, values, head["fingerprint"], notes)
    except (KeyError, TypeError, IndexError, AttributeError) as error:
        raise ValueError(f"`{path}` is no file of results ({error!r}): its first line tells columns.") from error
