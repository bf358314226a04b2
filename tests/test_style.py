"""What every file keeps: typed public signatures, text as UTF-8, whole files written in one way."""

import ast
from pathlib import Path

ROOT = Path(__file__).parents[1]
FOLDERS = ("relationbooth_pipeline", "training", "hub_cards", "benchmarks", "docs")


def trees(folders=FOLDERS):
    for folder in folders:
        for file in sorted((ROOT / folder).rglob("*.py")):
            yield file.relative_to(ROOT).as_posix(), ast.parse(file.read_text(encoding="utf-8"))


def public_functions(body: list[ast.stmt], prefix: str = ""):
    for node in body:
        if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
            yield from public_functions(node.body, f"{node.name}.")
        if isinstance(node, ast.FunctionDef) and (node.name in ("__call__", "__init__") or node.name[0] != "_"):
            yield prefix + node.name, node


def test_public_signatures_are_typed():
    untyped = []
    for file, tree in trees():
        if file.startswith("training/miniature/"):
            continue  # programs of this project alone
        for name, function in public_functions(tree.body):
            given = function.args
            names = [
                a for a in (*given.posonlyargs, *given.args, *given.kwonlyargs) if a.arg not in ("self", "cls", "ctx")
            ]
            is_answer_typed = function.returns is not None or function.name == "__init__"
            if not is_answer_typed or any(argument.annotation is None for argument in names):
                untyped.append(f"{file}: {name}")
    assert not untyped


def test_text_files_say_their_encoding():
    calls = [
        f"{file}:{node.lineno}"
        for file, tree in trees()
        for node in ast.walk(tree)
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Attribute)
        and node.func.attr in ("read_text", "write_text")
        and isinstance(node.func.value, (ast.Name, ast.BinOp, ast.Call, ast.Attribute, ast.Subscript))
        and not any(keyword.arg == "encoding" for keyword in node.keywords)
    ]
    assert not calls


def test_one_place_writes_files_whole_and_knows_pickles():
    """A rename of the caller's own, or a list of pickle suffixes, is a second way to do what `relation_files` does."""
    for file, tree in trees(("relationbooth_pipeline", "training", "hub_cards")):
        if file in ("relationbooth_pipeline/relation_files.py", "training/common/checkpoints.py"):
            continue
        for node in ast.walk(tree):
            name = node.attr if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) else ""
            assert not (name == "replace" and node.value.id == "os"), f"{file}:{node.lineno}: use `whole_file`"
            assert not (isinstance(node, ast.Constant) and node.value == ".ckpt"), f"{file}:{node.lineno}"
