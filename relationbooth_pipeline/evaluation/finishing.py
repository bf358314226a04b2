"""What a run ends with, and what needs no models: defaults, an estimate, the report, comparisons, the blind ballot."""

import json
import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from http.server import ThreadingHTTPServer
from pathlib import Path

from ..parallel import rank_and_world
from .benches import open_cases
from .cases import CaseFile
from .engine import RUN, Run
from .metrics import CLIP, DINO, MINIATURE, read_scores
from .metrics.scores import SCORES, read_lines
from .report import PAGE, RESULTS, VOTES, read_votes, write_report
from .report.ballot import ballot_server
from .statistics import build_table, check_against, compared_runs, halves, markdown
from .systems import seconds_a_picture
from .systems.pictures import told_when_full

BASE = "stabilityai/stable-diffusion-xl-base-1.0"
MINIATURE_NOTE = (
    "Read with towers of the drawn world where CLIP and DINO stand: trained on its renders alone, relations among "
    "them, and read by no system. The judges beside them share nothing with the towers; docs/evaluation.md says how "
    "well each figure tells right from wrong there."
)


@dataclass(frozen=True)
class DefaultModels:
    """What a bench is drawn and read with unless told otherwise. `size`: pixels of a picture's side.

    Attributes:
        cases_a_call: see `SystemOptions`; one picture of SDXL fills a small GPU.
    """

    model: str
    clip: str
    dino: str
    size: int
    cases_a_call: int


def default_models(bench: str, model: str | None, clip: str | None, dino: str | None) -> DefaultModels:
    """The miniature bench is drawn and read by the miniature; any other by SDXL, CLIP ViT-B/32 and DINO ViT-S/16."""
    small = bench == MINIATURE
    model = model or (MINIATURE if small else BASE)
    return DefaultModels(
        model, clip or (MINIATURE if small else CLIP), dino or (MINIATURE if small else DINO),
        size=128 if model == MINIATURE else 1024, cases_a_call=8 if model == MINIATURE else 1,
    )  # fmt: skip


def estimate(run: Run) -> list[str]:
    """How many pictures are left of each system, and for how long: from the median of the first ten drawn."""
    left = run.left_to_draw()
    lines, hours, known = [], 0.0, True
    for system in run.systems:
        cases = sum(name == system.name for name, _ in left)
        count, seconds = cases * run.options.pictures, seconds_a_picture(run.root, system.name)
        known = known and (seconds is not None or not count)
        hours += count * (seconds or 0.0) / 3600
        speed = "no picture drawn yet" if seconds is None else f"{seconds:.2f} s a picture"
        note = f"; {system.note}" if system.note else ""
        lines.append(f"{system.name}: {count} pictures left ({speed}){note}")
    if known:
        lines.append(f"about {hours:.2f} hours for one process")
    else:
        lines.append("for an estimate in hours, draw a few first: the same command with `--limit 10`")
    return lines


def finish(run: Run, published: bool) -> list[str]:
    """The report of a finished run; under torchrun only the first process writes it."""
    if rank_and_world()[0]:
        return []
    names = [system.name for system in run.systems]
    return _report(run.root, run.cases, names, run.options.pictures, run.options.against, published, False)


def report_of(root: Path, bench: str | None, against: str | None, published: bool, partial: bool) -> list[str]:
    """The report of a folder.

    Raises:
        ValueError: no run is there, its cases are not the given ones, or pictures are not scored yet.
    """
    cases, document = _cases_of(root, bench)
    names = document.get("systems", [])  # one that was drawn and not scored is told, too
    scored = [name for name in names if any((root / SCORES / name).glob("*.json"))]
    names = scored if partial or not scored else names
    return _report(root, cases.limited(document.get("limit")), names, document["pictures"], against, published, partial)


def _cases_of(root: Path, bench: str | None) -> tuple[CaseFile, dict]:
    path = Path(root) / RUN
    if not path.is_file():
        raise ValueError(f"`{root}` is no run: it holds no {RUN}. `relationbooth evaluate run` makes one.")
    document = json.loads(path.read_text(encoding="utf-8"))
    cases = open_cases(bench or document["bench"])
    if cases.fingerprint != document["fingerprint"]:
        raise ValueError(
            f"the cases of `{bench or document['bench']}` are not those that `{root}` was drawn from. Name the right "
            "file with `--bench`."
        )
    return cases, document


def _report(
    root: Path, cases: CaseFile, names: Sequence[str], count: int, against: str | None, published: bool, partial: bool
) -> list[str]:
    if not names:
        raise ValueError(f"`{root}` holds no scores yet. Run `relationbooth evaluate run` first.")
    check_against(against, names)
    scores = read_scores(root, cases, names, count, partial)
    notes = json.loads((root / RUN).read_text(encoding="utf-8")).get("notes", {})  # runs of before have none
    scores.notes += [f"{name}: {notes[name]}." for name in names if name in notes]
    if any("miniature" in column.checkpoint for column in scores.columns):
        scores.notes.append(MINIATURE_NOTE)
    benches = ", ".join(dict.fromkeys(case.bench for case in cases.cases))
    about = (
        f"{len(cases.cases)} cases of {benches}; {count} picture(s) a case; noise by case and picture number alone; "
        f"case file {cases.fingerprint}."
    )
    with told_when_full(root):
        tables = write_report(root, cases, scores, read_votes(root / VOTES), "RelationBench", about, against, published)
    return [markdown(tables), str(root / PAGE)]


def comparison(runs: Sequence[Path], bench: str | None, against: str | None) -> str:
    """One Markdown table of several runs' systems, on the cases that all of them have.

    Raises:
        ValueError: fewer than two runs, one named twice, different case files, no shared case, columns of one name that
            mean different things, or `against` is none of the systems.
    """
    if len(runs) < 2:
        raise ValueError(f"a comparison needs two or more runs, got {len(runs)}.")
    files = [path / RESULTS if path.is_dir() else path for path in runs]
    scores = compared_runs([(name, read_lines(file)) for name, file in zip(_run_names(runs), files)])
    ids = set(next(iter(scores.values.values())))
    if bench is None:
        cases = _bare_cases(sorted(ids))
    else:
        cases = open_cases(bench)
        if cases.fingerprint != scores.fingerprint:
            raise ValueError(f"`{bench}` is not the case file of these results.")
        cases = replace(cases, cases=tuple(case for case in cases.cases if case.id in ids), everything=cases.all_cases)
    return markdown([build_table(scores, cases, half, against) for half in (halves(cases) if bench else ["all"])])


def _run_names(runs: Sequence[Path]) -> list[str]:
    """As many last parts of the runs' paths as tell them apart."""
    parts = [Path(os.path.abspath(path)).parts for path in runs]
    for count in range(1, max(map(len, parts)) + 1):
        names = [Path(*found[-count:]).as_posix() for found in parts]
        if len(set(names)) == len(names):
            return names
    raise ValueError(f"the runs must be different ones, got {', '.join(map(str, runs))}. Name each once.")


def _bare_cases(ids: Sequence[str]) -> CaseFile:
    from .cases import Case

    return CaseFile(tuple(Case(i, "", (), (), (), "") for i in ids), Path())


def ballot(root: Path, first: str, second: str, bench: str | None, port: int) -> ThreadingHTTPServer:
    """A local server for a blind comparison of two systems of a run."""
    cases, document = _cases_of(root, bench)
    return ballot_server(root, cases.limited(document.get("limit")), document["pictures"], first, second, port)
