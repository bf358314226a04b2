"""Writes `docs/api.md`, the public names with their docstrings: `python -m docs.api`."""

import ast
import inspect
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "relationbooth_pipeline"
LINE = 118  # characters of a signature before it is broken
SECTIONS = ("Args:", "Attributes:", "Returns:", "Raises:")
Definition = ast.ClassDef | ast.FunctionDef


def api_page() -> str:
    """The page, Markdown: every room of the package that lists its public names, and each name with its docstring.

    Files are parsed, not imported, so that the page does not depend on versions of torch or diffusers.
    """
    lines = [
        "# Python interface",
        "",
        "Written by `python -m docs.api` from the docstrings. The command line: `relationbooth --help`.",
    ]
    for room in sorted(file.parent for file in PACKAGE.rglob("__init__.py") if _public_names(file)):
        path = ".".join(room.relative_to(ROOT).parts)
        defined = {node.name: node for file in sorted(room.glob("*.py")) for node in _definitions(file)}
        lines += ["", f"## `{path}`"]
        for name in _public_names(room / "__init__.py"):
            if name in defined:  # constants have no docstring
                lines += _entry(defined[name], defined)
    return "\n".join(lines) + "\n"


def _definitions(file: Path) -> list[Definition]:
    body = ast.parse(file.read_text(encoding="utf-8")).body
    return [node for node in body if isinstance(node, Definition)]


def _public_names(file: Path) -> list[str]:
    for node in ast.parse(file.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "__all__":
            return ast.literal_eval(node.value)
    return []


def _entry(node: Definition, defined: dict[str, Definition]) -> list[str]:
    if isinstance(node, ast.FunctionDef):
        return [*_heading("###", node), *_text(node)]
    lines = [f"\n### {node.name}", *_text(node)]
    for owner in _family(node, defined):
        for member in owner.body:
            if isinstance(member, ast.FunctionDef) and ast.get_docstring(member) and _is_public(member):
                lines += [*_heading("####", member, node.name), *_text(member)]
    return lines


def _family(node: ast.ClassDef, defined: dict[str, Definition]) -> Iterator[ast.ClassDef]:
    """A class and those of this package that it is made of, in the order in which Python looks methods up."""
    yield node
    for base in node.bases:
        if isinstance(found := defined.get(ast.unparse(base)), ast.ClassDef):
            yield from _family(found, defined)


def _is_public(member: ast.FunctionDef) -> bool:
    return not member.name.startswith("_") or member.name == "__call__"


def _heading(level: str, node: ast.FunctionDef, owner: str | None = None) -> list[str]:
    name = node.name if owner is None else f"{owner}.{node.name}"
    if any(ast.unparse(decorator).endswith("property") for decorator in node.decorator_list):
        return [f"\n{level} {name}", "", "A property."]
    rows = _arguments(node.args)[0 if owner is None else 1 :]  # without self or cls
    returned = "" if node.returns is None else f" -> {ast.unparse(node.returns)}"
    signature = [f"{node.name}({', '.join(rows)}){returned}"]
    if len(signature[0]) > LINE:
        signature = [f"{node.name}(", *(f"    {row}," for row in rows), f"){returned}"]
    return [f"\n{level} {name}", "", "```text", *signature, "```"]


def _arguments(arguments: ast.arguments) -> list[str]:
    defaults = [None] * (len(arguments.args) - len(arguments.defaults)) + arguments.defaults
    rows = [_argument(*pair) for pair in zip(arguments.args, defaults)]
    if arguments.vararg:
        rows.append("*" + _argument(arguments.vararg))
    elif arguments.kwonlyargs:
        rows.append("*")
    rows += [_argument(*pair) for pair in zip(arguments.kwonlyargs, arguments.kw_defaults)]
    return rows + (["**" + _argument(arguments.kwarg)] if arguments.kwarg else [])


def _argument(argument: ast.arg, default: ast.expr | None = None) -> str:
    return ast.unparse(argument) + ("" if default is None else f" = {ast.unparse(default)}")


def _text(node: Definition) -> list[str]:
    """The docstring: prose as prose, its sections and formulas as they are written."""
    text = ast.get_docstring(node)
    if not text:
        return []
    lines, was_prose = [], True
    for paragraph in inspect.cleandoc(text).split("\n\n"):
        rows = paragraph.splitlines()
        is_prose = rows[0] not in SECTIONS and not any(row.startswith(" ") for row in rows)
        if is_prose:
            lines += ["", *rows]
        elif was_prose:
            lines += ["", "```text", *rows, "```"]
        else:
            lines[-1:] = ["", *rows, "```"]
        was_prose = is_prose
    return lines


if __name__ == "__main__":
    (ROOT / "docs" / "api.md").write_text(api_page(), encoding="utf-8")
