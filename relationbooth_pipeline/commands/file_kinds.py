"""What a file is by its first bytes, when somebody gives a picture or a web page for a checkpoint."""

import zipfile
from pathlib import Path

# First bytes → what to say. The last three are what a download leaves that did not give the file itself.
_FIRST_BYTES = {
    b"\x89PNG": "a PNG picture",
    b"\xff\xd8\xff": "a JPEG picture",
    b"GIF8": "a GIF picture",
    b"BM": "a BMP picture",
    b"II*\0": "a TIFF picture",
    b"MM\0*": "a TIFF picture",
    b"%PDF": "a PDF document",
    b"GGUF": "a GGUF file",
    b"\x1f\x8b": "a gzip archive (unpack it first)",
    b"version https://git-lfs": "a Git LFS pointer, not the file itself (run `git lfs pull`, or download it again)",
    b"<!DOCTYPE": "a web page, not the file itself (download it again)",
    b"<html": "a web page, not the file itself (download it again)",
}


def foreign_kind(path: Path) -> str | None:
    """What `path`, a file, is, when it is surely no checkpoint; None when it may be one."""
    with open(path, "rb") as file:
        start = file.read(32)
    if not start:
        return "an empty file (download it again)"
    if start[:4] == b"RIFF" and start[8:12] == b"WEBP":
        return "a WEBP picture"
    for first, kind in _FIRST_BYTES.items():
        if start.lower().startswith(first.lower()):
            return kind
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:  # torch's pickles are zip files, too
            return None if any(n.endswith("data.pkl") for n in archive.namelist()) else "a ZIP archive (unpack it)"
    return None


def check_checkpoint(path: Path) -> None:
    """Raise a ValueError that says what `path` is, unless it may be a safetensors file or a pickle of torch."""
    from ..generation.checks import refuse_url

    refuse_url("SOURCE", str(path))
    if path.is_dir():
        raise ValueError(f"`{path}` is a folder. Name the checkpoint file in it.")
    if not path.is_file():
        raise ValueError(f"there is no `{path}`. Check the path.")
    kind = foreign_kind(path)
    if kind is None and path.suffix.lower() != ".safetensors":
        with open(path, "rb") as file:
            if file.read(1) not in (b"\x80", b"P"):  # a pickle's first byte, and that of a zip file
                kind = "something else"
    if kind is not None:
        raise ValueError(f"`{path}` must be a checkpoint, a safetensors file or a pickle of torch, but is {kind}.")
