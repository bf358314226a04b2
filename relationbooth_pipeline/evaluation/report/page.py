"""The report: one self-contained HTML page with figures, intervals and every case's pictures, and a Markdown table."""

import base64
import io
import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from PIL import Image

from ...relation_files import whole_file
from ...relation_images import open_image
from ..cases import Case, CaseFile, case_predicate
from ..metrics import Scores
from ..statistics import PUBLISHED, Table, build_table, case_means, halves, markdown
from ..statistics.published import NOTE
from ..systems import picture_path
from .votes import Votes

PICTURE_SIDE, PHOTO_SIDE = 320, 160  # pixels of the longer side; the run's folder keeps the full pictures
PAGE, MARKDOWN, RESULTS = "report.html", "report.md", "results.jsonl"


def write_report(
    root: Path,
    cases: CaseFile,
    scores: Scores,
    votes: Votes,
    title: str,
    about: str,
    against: str | None = None,
    published: bool = False,
) -> list[Table]:
    """Write `report.html`, `report.md` and `results.jsonl` into the run's folder; gives the tables."""
    tables = [build_table(scores, cases, half, against) for half in halves(cases)]
    text = f"# {title}\n\n{about}\n\n{markdown(tables, published)}"
    text += "".join(f"\n{line}\n" for line in votes.lines())
    for name, content in (
        (RESULTS, "\n".join(scores.lines()) + "\n"),
        (MARKDOWN, text),
        (PAGE, page(root, cases, scores, tables, votes, title, about, published)),
    ):
        with whole_file(root / name) as temporary:
            temporary.write_text(content, encoding="utf-8")
    return tables


def page(
    root: Path,
    cases: CaseFile,
    scores: Scores,
    tables: Sequence[Table],
    votes: Votes,
    title: str,
    about: str,
    published: bool = False,
) -> str:
    """The page's HTML; pictures lie in it, shrunk."""
    data = {
        "about": about,
        "notes": scores.notes,
        "columns": [{**asdict(column), "digits": column.digits} for column in scores.columns],
        "tables": [_table(table) for table in tables],
        "people": votes.lines(),
        "systems": list(scores.values),
        "published": PUBLISHED if published else {},
        "published_note": NOTE,
        "cases": [_case(root, cases, case, scores) for case in cases.cases],
    }
    text = json.dumps(data, ensure_ascii=False).replace("</", "<\\/").replace("<!--", "<\\!--")
    template = Path(__file__).with_name("template.html").read_text(encoding="utf-8")
    return template.replace("%TITLE%", _escaped(title)).replace("%DATA%", text)


def _escaped(text: str) -> str:
    return text.replace("&", "&amp;").replace("<", "&lt;")


def _table(table: Table) -> dict:
    def plain(rows: dict) -> dict:
        return {row: {n: asdict(v) if v else None for n, v in found.items()} for row, found in rows.items()}

    return {
        "title": table.title,
        "columns": [column.name for column in table.columns],
        "rows": plain(table.rows),
        "differences": plain(table.differences),
        "missing": table.missing,
    }


def _case(root: Path, cases: CaseFile, case: Case, scores: Scores) -> dict:
    values = {
        s: {n: [(v.figure, v.note) for v in f] for n, f in by.get(case.id, {}).items()}
        for s, by in scores.values.items()
    }
    means = {s: case_means({n: [figure for figure, _ in f] for n, f in found.items()}) for s, found in values.items()}
    pictures = {}
    for system in scores.values:
        count = max((len(f) for f in values[system].values()), default=0)
        paths = [picture_path(root, system, case.id, number) for number in range(count)]
        pictures[system] = [shrunk(path, PICTURE_SIDE) for path in paths if path.is_file()]
    return {
        "id": case.id,
        "prompt": case.prompt,
        "phrases": case.phrases,
        "predicate": case_predicate(case)[0],
        "boxes": case.boxes,
        "generate_with": case.generate_with,
        "references": [
            [shrunk(cases.photo(case, i, k), PHOTO_SIDE) for k in range(len(photos))]
            for i, photos in enumerate(case.references)
        ],
        "pictures": pictures,
        "values": values,
        "means": means,
    }


_SHRUNK: dict[tuple, str] = {}  # a photo serves many cases


def shrunk(path: Path, side: int) -> str:
    """A WebP in a data address, its longer side at most `side`."""
    status = path.stat()
    key = (str(path), side, status.st_size, status.st_mtime_ns)
    if key not in _SHRUNK:
        image = open_image(path)
        image.thumbnail((side, side), Image.Resampling.LANCZOS)
        buffer = io.BytesIO()
        image.save(buffer, "WEBP", quality=85)
        _SHRUNK[key] = "data:image/webp;base64," + base64.b64encode(buffer.getvalue()).decode()
    return _SHRUNK[key]
