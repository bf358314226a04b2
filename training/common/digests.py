"""Digests of pictures and models: a run that goes on with others under the same names is noticed."""

import hashlib
from collections.abc import Iterable, Mapping
from pathlib import Path

from relationbooth_pipeline.digests import sha256
from relationbooth_pipeline.relation_files import PICKLE_SUFFIXES


def contents_digest(files: Iterable[Path]) -> str:
    """Digest of the contents of files, in their order; a file that is named again is not read again."""
    files = list(files)
    known = {file: sha256(file) for file in dict.fromkeys(files)}
    return hashlib.sha256("".join(known[file] for file in files).encode()).hexdigest()[:16]


def model_digest(source: str | Path, parts: Iterable[str] = ("",)) -> str | None:
    """Digest of the weights of a model on this machine; None for a Hub repository.

    Args:
        source: file, folder or repository.
        parts: folders in it. Folders in these do not count: a training run's result lies beside its checkpoints.
    """
    if Path(source).is_file():
        return contents_digest([Path(source)])
    if not Path(source).is_dir():
        return None
    return contents_digest(file for part in parts for file in _weight_files(Path(source) / part))


def model_facts(models: Mapping[str, tuple[str | Path | None, Iterable[str]]]) -> dict[str, str]:
    """What a run notes of its models: {option + "_digest": `model_digest`} of those that lie on this machine.

    Args:
        models: option → (source, parts); of a Hub repository the option's own value tells enough.
    """
    found = {name: model_digest(source, parts) for name, (source, parts) in models.items() if source is not None}
    return {f"{name}_digest": digest for name, digest in found.items() if digest is not None}


def _weight_files(folder: Path) -> list[Path]:
    """What `from_pretrained` reads there: safetensors, and pickles only where there are none."""
    files = sorted(folder.glob("*"))
    safe = [file for file in files if file.suffix == ".safetensors"]
    return safe or [file for file in files if file.suffix in PICKLE_SUFFIXES]
