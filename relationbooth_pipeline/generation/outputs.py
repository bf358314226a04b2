"""Where pictures go: their names, and whether they can be written, which is asked before anything is drawn."""

import os
import tempfile
from collections.abc import Iterable
from pathlib import Path


def numbered(path: Path, count: int) -> list[Path]:
    """Names of `count` pictures: name.png, name_1.png, name_2.png, …"""
    return [path, *(path.with_name(f"{path.stem}_{i}{path.suffix}") for i in range(1, count))]


def check_output(flag: str, path: Path) -> None:
    """Raise a ValueError unless a PNG can be written at `path`."""
    if path.suffix.lower() != ".png":
        raise ValueError(f"`{flag}` must end in .png (the settings are kept in the PNG), got `{path}`.")
    check_place(flag, path)
    if path.is_dir():
        raise ValueError(f"`{flag}` must be a file, but `{path}` is a folder.")


def check_place(flag: str, path: Path) -> None:
    """Raise a ValueError unless the disk takes `path`'s name and its folder takes new files."""
    folder = path.absolute().parent
    if not folder.is_dir():
        raise ValueError(f"`{flag}`: the folder `{folder}` does not exist. Create it first.")
    try:
        os.lstat(path)
    except FileNotFoundError:
        pass
    except (OSError, ValueError) as error:  # too long, characters that the disk does not know, a null byte
        raise ValueError(f"`{flag}`: a file cannot have this name ({error}). Choose another name.") from error
    try:
        with tempfile.TemporaryFile(dir=folder):  # a name of its own: many commands may ask at once
            pass
    except OSError as error:
        raise ValueError(f"`{flag}`: the folder `{folder}` is not writable ({error}). Choose another.") from error


def check_apart(outputs: Iterable[tuple[str, Path]], inputs: Iterable[str | Path] = ()) -> None:
    """Raise a ValueError when two of `outputs` (flag, path) are one file, or one of them would replace an input."""
    read = {Path(source).resolve() for source in inputs}
    seen: dict[Path, str] = {}
    for flag, path in outputs:
        file = path.resolve()
        if file in read:
            raise ValueError(f"`{flag}` would replace `{path}`, which is read. Choose another name.")
        if file in seen:
            flags = f"`{flag}` and `{seen[file]}`"
            raise ValueError(f"{flags} must be two files, got `{path}` for both. Choose another name.")
        seen[file] = flag
