"""Writes `docs/files.md`, every Python file with the first line of its docstring: `python -m docs.files`."""

import ast
from pathlib import Path

ROOT = Path(__file__).parents[1]
FOLDERS = ("relationbooth_pipeline", "training", "benchmarks", "hub_cards", "docs")


def file_map() -> str:
    """The page, Markdown: a heading for each folder, a table row for each file that says something."""
    lines = ["# Files", "", "Written by `python -m docs.files`; each line is the file's own."]
    for top in FOLDERS:
        for folder in sorted({file.parent for file in (ROOT / top).rglob("*.py")}):
            rows = [row for file in sorted(folder.glob("*.py")) if (row := _row(file))]
            if rows:
                lines += [
                    "",
                    f"## `{folder.relative_to(ROOT).as_posix()}/`",
                    "",
                    "| file | what it is |",
                    "|---|---|",
                    *rows,
                ]
    return "\n".join(lines) + "\n"


def _row(file: Path) -> str | None:
    text = ast.get_docstring(ast.parse(file.read_text(encoding="utf-8")))
    return text and f"| `{file.name}` | {text.splitlines()[0]} |"


if __name__ == "__main__":
    (ROOT / "docs" / "files.md").write_text(file_map(), encoding="utf-8")
