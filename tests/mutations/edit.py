"""One wrong edit of a source file, and the test that must fail by it."""

import ast
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Edit:
    """A law broken on purpose.

    Attributes:
        name: the law, as it would be if the edit were right.
        file: path from the repository's root.
        old, new: source text, which must occur exactly once, and what stands in its place.
        test: node id of the test that must fail.
    """

    name: str
    file: str
    old: str
    new: str
    test: str

    def applied_to(self, root: Path) -> str:
        """The file's text after the edit.

        Raises:
            ValueError: the old text does not occur exactly once, or the test does not exist; the code has moved on, so
                this entry must follow.
        """
        text = (root / self.file).read_text(encoding="utf-8")
        count = text.count(self.old)
        if count != 1 or self.new == self.old:
            raise ValueError(f"{self.name!r}: the old text must occur once in {self.file}, got {count}: {self.old!r}.")
        file, _, function = self.test.partition("::")
        if not (root / file).is_file() or function.partition("[")[0] not in _functions(root / file):
            raise ValueError(f"{self.name!r}: there is no test {self.test}.")
        return text.replace(self.old, self.new)


def edits_of(file: str, laws: dict[str, tuple[str, str, str]]) -> list[Edit]:
    """Edits of one file, from {name: (old, new, test)}."""
    return [Edit(name, file, *entry) for name, entry in laws.items()]


def _functions(file: Path) -> set[str]:
    tree = ast.parse(file.read_text(encoding="utf-8"))
    return {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}
