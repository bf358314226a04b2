"""Which contents these are: files, folders of models and whatever a source names, told apart by digests.

A name says where a model lies, not which one: trained again into the same folder, it is another.
"""

import hashlib
import json
import re
from pathlib import Path

from ..relation_files import PICKLE_SUFFIXES

WEIGHT_SUFFIXES = (".safetensors", *PICKLE_SUFFIXES)
# What decides, beside the weights, what a model gives. Logs and results beside them do not.
_CONFIGS = re.compile(
    r".*config\.json|model_index\.json|tokenizer\.(json|model)|spiece\.model|vocab\.(json|txt)|merges\.txt"
    r"|added_tokens\.json|special_tokens_map\.json"
)
INDEX = "model_index.json"
LENGTH = 12  # hexadecimal digits that stand behind a name
_CHUNK = 2**22  # bytes

_KNOWN: dict[tuple, str] = {}


def sha256(file: str | Path) -> str:
    """Hexadecimal SHA-256 of a file's bytes."""
    digest = hashlib.sha256()
    with open(file, "rb") as opened:
        while chunk := opened.read(_CHUNK):
            digest.update(chunk)
    return digest.hexdigest()


def file_digest(path: str | Path) -> str:
    """`sha256`, read once in this process: known by name, size and time."""
    status = Path(path).stat()
    key = (str(path), status.st_size, status.st_mtime_ns)
    if key not in _KNOWN:
        _KNOWN[key] = sha256(path)
    return _KNOWN[key]


def folder_digest(folder: str | Path) -> str:
    """Digits that all weights and configs of a model's folder decide, with their names below it.

    Of a pipeline's folder those of its components count: RelationLoRAs and results may come to lie beside them.

    Raises:
        ValueError: no weights are there.
    """
    folder, digest, weights = Path(folder), hashlib.sha256(), 0
    for file in sorted({file for part in _parts(folder) for file in part.rglob("*")}):
        is_weight = file.suffix.lower() in WEIGHT_SUFFIXES
        if file.is_file() and (is_weight or _CONFIGS.fullmatch(file.name)):
            weights += is_weight
            digest.update(f"{file.relative_to(folder).as_posix()}\n{file_digest(file)}\n".encode())
    if not weights:
        raise ValueError(
            f"the model's folder `{folder}` holds no weights ({', '.join(f'*{s}' for s in WEIGHT_SUFFIXES)}), by which "
            "its results are told from another model's. Name the folder that they are in."
        )
    if (folder / INDEX).is_file():
        digest.update(file_digest(folder / INDEX).encode())
    return digest.hexdigest()[:LENGTH]


def _parts(folder: Path) -> list[Path]:
    """A pipeline's components, else the folder itself."""
    if not (folder / INDEX).is_file():
        return [folder]
    listed = json.loads((folder / INDEX).read_text(encoding="utf-8"))
    return [folder / name for name, value in listed.items() if isinstance(value, list) and value[:1] != [None]]


def source_digest(source: str | Path) -> str | None:
    """Digits of a local file or folder; None of a repository, which its name alone tells."""
    path = Path(source)
    if path.is_dir():
        return folder_digest(path)
    return file_digest(path)[:LENGTH] if path.is_file() else None


def named_source(source: str | Path, name: str | None = None) -> str:
    """A source as results keep it: "name#digest" of a local one, without its path; a repository as it is.

    Args:
        name: instead of the last part of the path.
    """
    digest = source_digest(source)
    return str(source) if digest is None else f"{name or Path(source).resolve().name}#{digest}"
