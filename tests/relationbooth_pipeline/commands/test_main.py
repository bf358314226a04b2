"""The command line as a program of its own: cheap help, its own words alone, any text on any pipe."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

import relationbooth_pipeline
from relationbooth_pipeline.sheets.png_settings import save_png
from tests.tiny import photo

ROOT = Path(relationbooth_pipeline.__path__[0]).parent
HEAVY = ("torch", "diffusers", "transformers", "peft")


def python(*arguments, cwd, **environment):
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", **environment}
    return subprocess.run([sys.executable, *map(str, arguments)], env=environment, cwd=cwd, capture_output=True)


def command(*arguments, cwd, **environment):
    return python("-m", "relationbooth_pipeline.commands", *arguments, cwd=cwd, **environment)


@pytest.mark.parametrize(
    "arguments",
    [["--help"], ["--version"], *([name, "--help"] for name in ("generate", "demo", "info", "features", "convert"))],
)
def test_help_imports_no_heavy_library(tmp_path, arguments):
    code = (
        "import sys\n"
        "from relationbooth_pipeline.commands.main import app\n"
        f"try: app({arguments!r})\n"
        "except SystemExit as end: assert not end.code\n"
        f"print([name for name in {HEAVY!r} if name in sys.modules], file=sys.stderr)"
    )
    done = python("-c", code, cwd=tmp_path)
    assert done.returncode == 0 and done.stderr.decode().strip() == "[]", done.stderr.decode()
    assert done.stdout.strip()


def test_the_help_of_every_command_is_told_on_a_pipe_that_knows_ascii_only(tmp_path):
    done = command("generate", "--help", cwd=tmp_path, PYTHONIOENCODING="ascii")
    assert done.returncode == 0 and not done.stderr, done.stderr
    assert b"name.png, name_1.png" in done.stdout.replace(b"\n", b" ").replace(b"  ", b"")  # as --count numbers them


def test_version(tmp_path):
    done = command("--version", cwd=tmp_path)
    assert done.stdout.decode().split() == ["relationbooth", relationbooth_pipeline.__version__]


@pytest.mark.parametrize("encoding", ["cp1252", "ascii", "utf-8"])
def test_info_prints_json_on_any_pipe(tmp_path, encoding):
    settings = {"prompt": "Кошка, café, 熊, 🐻"}
    save_png(photo(), tmp_path / "p.png", settings)
    done = command("info", "p.png", cwd=tmp_path, PYTHONIOENCODING=encoding)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout.decode(encoding))["settings"] == settings
    assert ("Кошка" in done.stdout.decode(encoding)) == (encoding == "utf-8")


def test_a_picture_with_a_foreign_name_is_drawn_and_told_without_a_library_s_word(tmp_path):
    done = command("generate", "--prompt", "a cat", "--steps", 1, "--output", "кошка.png", cwd=tmp_path,
                   PYTHONIOENCODING="cp1252")  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "кошка.png").is_file() and b"\\u043a\\u043e\\u0448\\u043a\\u0430.png (seed" in done.stdout
    lines = [line for line in done.stderr.decode("cp1252").splitlines() if line.strip()]
    assert len(lines) == 1 and lines[0].startswith("denoising"), lines


def test_refusals_are_printed_on_any_pipe(tmp_path):
    done = command("info", "кошка.png", cwd=tmp_path, PYTHONIOENCODING="cp1252")
    assert done.returncode == 1 and b"there is no `\\u043a" in done.stderr and b"Traceback" not in done.stderr


def test_the_package_gives_every_name_when_asked(tmp_path):
    assert set(relationbooth_pipeline.__all__) == set(relationbooth_pipeline._MODULES)
    assert set(relationbooth_pipeline.__all__) <= set(dir(relationbooth_pipeline))
    for name in relationbooth_pipeline.__all__:
        assert getattr(relationbooth_pipeline, name).__name__ == name
    with pytest.raises(AttributeError, match="has no attribute 'Pipeline'"):
        _ = relationbooth_pipeline.Pipeline
    code = "import sys, relationbooth_pipeline as package; print(package.__version__, 'torch' in sys.modules)"
    assert python("-c", code, cwd=tmp_path).stdout.split() == [relationbooth_pipeline.__version__.encode(), b"False"]


def test_type_checkers_see_the_names_that_are_given():
    """The block under TYPE_CHECKING names the same modules as `_MODULES`."""
    import ast

    tree = ast.parse(Path(relationbooth_pipeline.__file__).read_text(encoding="utf-8"))
    block = next(node for node in tree.body if isinstance(node, ast.If))
    assert {a.name: node.module for node in block.body for a in node.names} == relationbooth_pipeline._MODULES
