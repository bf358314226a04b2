"""The miniature bench: held-out characters of the drawn world in every relation and action it knows; ships here."""

from pathlib import Path

from ..cases import CaseFile, read_cases

FOLDER = Path(__file__).parent / "miniature"


def miniature_bench() -> CaseFile:
    """The cases that came with the package; boxes are given, so identity needs no detector.

    Raises:
        ValueError: this installation came without them.
    """
    if not FOLDER.is_dir():
        raise ValueError(f"the miniature bench is missing: `{FOLDER}`. Install the package with its data.")
    return read_cases(FOLDER)
