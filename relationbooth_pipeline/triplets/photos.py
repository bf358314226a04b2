"""Pictures that exist, as rows: a target, its objects alone, and words; from a folder's names or a small CSV."""

import csv
import io
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from ..relation_images import open_image
from ..relation_layouts import missing_phrases
from .fields import read_text
from .keys import refuse_keys

TABLE = "pictures.csv"
COLUMNS = ("target", "objects", "phrases", "predicate", "prompt")
SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".tif", ".tiff", ".gif")
_OBJECT = re.compile(r"(?P<target>.+)_object_(?P<number>\d+)")


@dataclass(frozen=True)
class PictureRow:
    """One target and its objects.

    Attributes:
        id: from the target's name, safe as a file's name. target, objects: files, one object per phrase.
        prompt: the sentence, None where the caption stage is to say it.
    """

    id: str
    target: Path
    objects: tuple[Path, ...]
    phrases: tuple[str, ...]
    predicate: str
    prompt: str | None = None


def read_pictures(
    source: str | Path, phrases: Sequence[str] = (), predicate: str | None = None, prompt: str | None = None
) -> list[PictureRow]:
    """Rows of a folder or a CSV file, every picture opened.

    A folder with `pictures.csv` is read by it: columns target, objects and phrases (';' between several), predicate,
    prompt (all but the first two may be left out). Else by names: `NAME.jpg` is a target, `NAME_object_0.jpg`,
    `NAME_object_1.jpg` its objects.

    Args:
        phrases, predicate, prompt: of the rows that name none.
    Raises:
        ValueError: one line for every fault of every row.
    """
    source = Path(source)
    table = source if source.suffix.lower() == ".csv" else source / TABLE
    if not source.exists():
        raise ValueError(f"there is no folder or CSV file `{source}`. Check the path.")
    if table.is_file():
        found = list(_table_rows(table))
    elif source.is_dir():
        found = list(_named_rows(source))
    else:
        raise ValueError(f"`{source}` must be a folder of pictures or a CSV file.")
    if not found:
        raise ValueError(
            f"`{source}` holds no target with objects. Name them `NAME.jpg`, `NAME_object_0.jpg`, `NAME_object_1.jpg`, "
            f"or write `{TABLE}` with the columns {', '.join(COLUMNS)}."
        )
    rows, faults, ids = [], [], {}
    for place, fields in found:
        own = list(fields.get("faults", ()))
        words = tuple(fields.get("phrases") or phrases)
        row = PictureRow(
            _id(fields["target"].stem), fields["target"], tuple(fields["objects"]), words,
            fields.get("predicate") or predicate or "", fields.get("prompt") or prompt,
        )  # fmt: skip
        if row.id in ids:
            own.append(f"`target` {row.target.name} has the same name as that of {ids[row.id]}. Rename one.")
        ids.setdefault(row.id, place)
        own += list(_faults(row))
        faults += [f"{place}: {fault}" for fault in own]
        rows.append(row)
    if faults:
        raise ValueError("\n".join(faults))
    return rows


def _id(stem: str) -> str:
    return re.sub(r"[^a-z0-9_.-]+", "-", stem.lower()).strip("-_.")[:80] or "picture"


def _table_rows(table: Path) -> Iterator[tuple[str, dict]]:
    """(where it stands, fields as texts and files)."""
    reader = csv.DictReader(io.StringIO(read_text(table)))
    columns = [name.strip() for name in reader.fieldnames or ()]
    if unknown := [name for name in columns if name not in COLUMNS]:
        raise ValueError(f"`{table.name}` must have the columns {', '.join(COLUMNS)}, got also {', '.join(unknown)}.")
    if missing := [name for name in COLUMNS[:2] if name not in columns]:
        raise ValueError(f"`{table.name}` lacks the columns {', '.join(missing)}.")
    reader.fieldnames = columns
    for row in reader:
        faults = ["has more fields than the header. Put quotes around texts with commas."] if None in row else []
        values = {name: (row.get(name) or "").strip() for name in columns}
        if not any(values.values()):
            continue
        if not values["target"]:
            faults.append("`target` is empty.")
        yield (
            f"{table.name} line {reader.line_num}",
            {
                "target": table.parent / values["target"],
                "objects": [table.parent / name for name in _parts(values["objects"])],
                "phrases": _parts(values.get("phrases", "")),
                "predicate": values.get("predicate"),
                "prompt": values.get("prompt"),
                "faults": faults,
            },
        )


def _parts(text: str) -> list[str]:
    return [part.strip() for part in text.split(";") if part.strip()]


def _named_rows(folder: Path) -> Iterator[tuple[str, dict]]:
    files = sorted(file for file in folder.iterdir() if file.suffix.lower() in SUFFIXES and file.is_file())
    found: dict[str, dict[int | None, Path]] = {}  # the target by None, objects by their number
    faults: dict[str, list[str]] = {}
    for file in files:
        match = _OBJECT.fullmatch(file.stem)
        name, number = (match["target"], int(match["number"])) if match else (file.stem, None)
        first = found.setdefault(name, {}).setdefault(number, file)
        if first != file:  # another suffix, or a number with zeros before it
            what = "target" if number is None else f"object {number}"
            twice = f"`{first.name}` and `{file.name}` are both its {what}. Remove one, or rename it."
            faults.setdefault(name, []).append(twice)
    for name, numbered in sorted(found.items()):
        own = faults.get(name, [])
        target = numbered.pop(None, None)
        if sorted(numbered) != list(range(len(numbered))):
            own.append(f"objects must be numbered from 0 without a gap, got {', '.join(map(str, sorted(numbered)))}.")
        if target is None:
            own.append(f"its target `{name}.*` is missing.")
        objects = [numbered[i] for i in sorted(numbered)]
        yield f"`{name}`", {"target": target or folder / name, "objects": objects, "faults": own}


def _faults(row: PictureRow) -> Iterator[str]:
    try:
        refuse_keys("pictures", [row.id, row.phrases, row.predicate, row.prompt])
    except ValueError as error:
        yield str(error)
    if not row.phrases:
        yield "`phrases` are missing: the noun of each object. Pass `--phrase` once per object."
    elif len(row.objects) != len(row.phrases):
        yield f"there must be one object per phrase ({len(row.phrases)}), got {len(row.objects)} pictures."
    if not row.predicate:
        yield "`predicate` is missing: the words that say the relation. Pass `--predicate`."
    plain = [" ".join(phrase.lower().split()) for phrase in row.phrases]
    if len(set(plain)) < len(plain):
        yield f"`phrases` must differ, got {', '.join(row.phrases)}: no detector tells them apart. Say how they differ."
    if row.prompt is not None:
        words = [*missing_phrases(row.phrases, row.prompt), *missing_phrases([row.predicate], row.prompt)]
        if row.predicate and words:
            yield f"the prompt {row.prompt!r} must say {', '.join(map(repr, words))} as words of their own."
    for file in (row.target, *row.objects):
        try:
            open_image(file)
        except ValueError as error:
            yield str(error)
