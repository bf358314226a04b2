"""What a folder of results was made for, written down beside them: results of another model are not mixed with them."""

import hashlib
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from relationbooth_pipeline.relation_files import whole_file

from .digests import file_digest

FILE_NAME = "made_for.json"
BASE = ("unet", "text_encoder", "text_encoder_2")
PIPELINE = (*BASE, "vae", "relation_adapter")


def weights_digest(folder: str | Path, parts: Iterable[str]) -> str:
    """Digest of every weight file in those parts of a pipeline folder, names included."""
    digest = hashlib.sha256()
    for part in parts:
        for file in sorted((Path(folder) / part).rglob("*.safetensors")):
            name = file.relative_to(folder).as_posix()
            digest.update(f"{name}\n".encode() + bytes.fromhex(file_digest(file)))
    return digest.hexdigest()[:16]


def made_for(folder: str | Path, **what: Any) -> None:
    """Note in `folder`/made_for.json what its results are made for, and refuse to go on there for anything else.

    Args:
        what: {name: JSON value}. Names that are new to the folder are added.
    Raises:
        ValueError: the folder was made for another value of one of them.
    """
    path = Path(folder) / FILE_NAME
    known = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    for name, value in what.items():
        if known.setdefault(name, value) != value:
            raise ValueError(
                f"`{folder}` holds what was made for another {name.replace('_', ' ')} ({known[name]}, now {value}). "
                "Give a new output folder, or remove this one."
            )
    path.parent.mkdir(parents=True, exist_ok=True)
    with whole_file(path) as temporary:
        temporary.write_text(json.dumps(known, indent=2) + "\n", encoding="utf-8")
