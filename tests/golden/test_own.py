"""Cases of our own: computed by slow references that know nothing of the package, kept in `data/`."""

import ast
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from tests.golden.__main__ import CHECKS
from tests.golden.case import Case
from tests.golden.own.__main__ import CASES, write

HERE = Path(__file__).parent
LEAST_OUTPUTS = {"attention": 40, "kml": 25, "local_tokens": 13, "resampler": 16}


@pytest.mark.parametrize("name", CASES)
@torch.no_grad()
def test_the_package_reproduces_every_output(name):
    case = Case(HERE / "data" / name)
    CHECKS[case.config["kind"]](case)
    compared = {result.name for result in case.results}
    assert {key for key in case.data if key.startswith("out.")} <= compared and len(compared) >= LEAST_OUTPUTS[name]
    assert [(result.name, result.difference) for result in case.results if result.missed] == []


def test_the_files_are_what_the_references_compute(tmp_path):
    write(tmp_path)
    files = sorted(path.relative_to(tmp_path) for path in tmp_path.rglob("*") if path.is_file())
    assert files == sorted(path.relative_to(HERE / "data") for path in (HERE / "data").rglob("*") if path.is_file())
    assert sum((HERE / "data" / file).stat().st_size for file in files) < 300_000
    for file in files:
        if file.suffix == ".json":
            assert (tmp_path / file).read_bytes() == (HERE / "data" / file).read_bytes()
            continue
        fresh, kept = load_file(tmp_path / file), load_file(HERE / "data" / file)
        assert fresh.keys() == kept.keys()
        for key in fresh:
            torch.testing.assert_close(fresh[key], kept[key], atol=1e-6, rtol=1e-6)


def test_the_references_import_nothing_of_ours():
    allowed = {"math", "numpy", "arithmetic"}
    for file in (HERE / "own").glob("*.py"):
        if file.name != "__main__.py":
            nodes = ast.walk(ast.parse(file.read_text(encoding="utf-8")))
            modules = [[a.name for a in n.names] if isinstance(n, ast.Import) else [n.module] for n in nodes
                       if isinstance(n, (ast.Import, ast.ImportFrom))]  # fmt: skip
            assert {name for names in modules for name in names} <= allowed
