"""Photos in folders, one folder an object, as DreamBench and CustomConcept101 keep them."""

import re
from pathlib import Path

SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".tif", ".tiff")
_SLOT = re.compile(r"\{(\d*)\}")


class ImageFolder:
    """A folder with a folder of photos for each object.

    Raises:
        ValueError: no such folder.
    """

    def __init__(self, root: str | Path):
        self.root = Path(root)
        if not self.root.is_dir():
            raise ValueError(f"no folder `{self.root}`. Download the data set and name its folder.")

    def has(self, name: str) -> bool:
        return (self.root / name).is_dir()

    def photos(self, name: str) -> list[str]:
        """Absolute names of an object's photos, sorted.

        Raises:
            ValueError: there is none.
        """
        folder = self.root / name
        found = sorted(f for f in folder.glob("*") if f.suffix.lower() in SUFFIXES and not f.name.startswith("."))
        if not found:
            raise ValueError(f"`{folder}` holds no photo ({', '.join(SUFFIXES)}). Download the data set again.")
        return [str(file.absolute()) for file in found]


def read_lines(path: Path) -> list[str]:
    """Lines of a prompt file without blanks at their ends; empty ones are no prompts.

    Raises:
        ValueError: no such file, or no line in it.
    """
    if not path.is_file():
        raise ValueError(f"no prompt file at `{path}`. Download the data set again.")
    lines = [line.strip() for line in path.read_text(encoding="utf-8-sig").splitlines()]
    if not any(lines):
        raise ValueError(f"`{path}` holds no prompt.")
    return [line for line in lines if line]


def fill_slots(template: str, nouns: list[str]) -> tuple[str, list[int]]:
    """(prompt, numbers of the nouns that stand in it, in the order in which they do).

    Slots are `{}` in turn or `{0}`, `{1}` by number, which may be exchanged ("{1} and {0}") or missing.

    Raises:
        ValueError: a slot names no noun, or one twice: the phrase would have no place of its own.
    """
    order: list[int] = []

    def noun(match: re.Match) -> str:
        order.append(int(match[1]) if match[1] else len(order))
        if order[-1] >= len(nouns):
            raise ValueError(f"the prompt {template!r} has a slot for object {order[-1]}, but there are {len(nouns)}.")
        return nouns[order[-1]]

    prompt = _SLOT.sub(noun, template)
    if len(set(order)) < len(order):
        raise ValueError(f"the prompt {template!r} names an object twice.")
    return prompt, order


def slug(text: str) -> str:
    """`text` as part of a case's id."""
    return re.sub(r"[^A-Za-z0-9_-]+", "_", text).strip("_") or "x"
