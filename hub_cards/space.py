"""The page as a Space: a folder with the package in it, its card, a program of a few lines and what it needs."""

import re
import shutil
from pathlib import Path

import relationbooth_pipeline
from relationbooth_pipeline.relation_files import whole_folder

CARD = Path(__file__).parent / "relationbooth-space"
PACKAGE = Path(relationbooth_pipeline.__path__[0])
PROJECT = PACKAGE.parent / "pyproject.toml"


def build_space(folder: Path) -> None:
    """Write the Space to a new folder, whole or not at all; it needs nothing of this project from elsewhere.

    Raises:
        ValueError: the folder exists, or this is no checkout.
    """
    if not PROJECT.is_file():
        raise ValueError(f"there is no `{PROJECT}`: a Space is built from a checkout.")
    with whole_folder(folder) as fresh:
        for name in ("README.md", "app.py"):
            shutil.copy(CARD / name, fresh)
        shutil.copytree(
            PACKAGE, fresh / PACKAGE.name, ignore=shutil.ignore_patterns("__pycache__", "*.pyi", "commands")
        )
        (fresh / "requirements.txt").write_text(requirements(), encoding="utf-8")


def is_space(folder: Path) -> bool:
    """Whether the folder is one that `build_space` wrote."""
    return all((Path(folder) / name).exists() for name in ("README.md", "app.py", "requirements.txt", PACKAGE.name))


def requirements() -> str:
    """The package's own dependencies; gradio comes with the Space's `sdk_version`, torch without CUDA."""
    text = PROJECT.read_text(encoding="utf-8")
    block = re.search(r"^dependencies = \[(.*?)^\]", text, re.DOTALL | re.MULTILINE)[1]
    return (
        "\n".join(["--extra-index-url https://download.pytorch.org/whl/cpu", *re.findall(r'"([^"]+)"', block)]) + "\n"
    )
