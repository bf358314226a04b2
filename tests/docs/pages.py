"""The pages that people read, and the code blocks that they may copy."""

import json
import re
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGES = [
    *(ROOT / name for name in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md")),
    *sorted((ROOT / "docs").glob("*.md")),
    ROOT / "docs" / "notebook.ipynb",
    *sorted((ROOT / "hub_cards").glob("*/README.md")),
    *(ROOT / name / "README.md" for name in ("training", "benchmarks")),
]
NAMES = [page.relative_to(ROOT).as_posix() for page in PAGES]
# yaml: accelerate's own file, which accelerate alone can check; json: data, whose reader has tests of its own.
LANGUAGES = {"python", "bash", "json", "yaml", "text"}


@dataclass(frozen=True)
class Block:
    """A fenced block of a page: its language, its text, and the line it begins in."""

    page: str
    line: int
    language: str
    text: str

    def __str__(self) -> str:
        return f"{self.page}:{self.line}"


def words(page: str) -> str:
    """A page's Markdown; of a notebook its Markdown cells."""
    text = (ROOT / page).read_text(encoding="utf-8")
    if page.endswith(".ipynb"):
        cells = [cell["source"] for cell in json.loads(text)["cells"] if cell["cell_type"] == "markdown"]
        return "\n\n".join("".join(source) for source in cells)
    return text


def blocks(page: str) -> list[Block]:
    text = words(page)
    found = re.finditer(r"^```(.*)\n((?:.*\n)*?)```$", text, re.MULTILINE)
    return [Block(page, text.count("\n", 0, match.start()) + 1, match[1].strip(), match[2]) for match in found]


def blocks_in(language: str) -> list[Block]:
    return [block for page in NAMES for block in blocks(page) if block.language == language]


def commands(text: str) -> list[str]:
    """The commands of a shell script, one a line, without comments and line breaks."""
    lines = re.sub(r"\\\n", " ", text).splitlines()
    lines = [re.sub(r"(^|\s)#.*", "", line) for line in lines]
    return [part.strip() for line in lines for part in re.split(r"&&|;", line) if part.strip()]
