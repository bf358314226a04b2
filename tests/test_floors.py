"""A module of the package imports only from floors below its own."""

import ast
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "relationbooth_pipeline"
FLOORS = {
    "relation_regions": 0,
    "relation_phrases": 0,
    "relation_images": 0,
    "relation_inputs": 0.5,  # reads images and masks; floor 0 with one step
    "relation_attention": 1,
    "relation_resampler": 1,
    "relation_image_encoder": 1,
    "relation_adapter": 2,
    "relation_lora": 2,
    "relation_checkpoints": 2.3,  # builds adapters and encoders from others' files
    "relation_loaders": 2.6,
    "relation_conditioning": 2.6,  # the pipeline's steps before denoising
    "pipeline": 3,
}
TOP = 4  # what people touch: everything else


def imported_siblings(file: Path) -> set[str]:
    tree = ast.parse(file.read_text())
    return {n.module for n in ast.walk(tree) if isinstance(n, ast.ImportFrom) and n.level == 1 and n.module}


@pytest.mark.parametrize("name", FLOORS)
def test_imports_look_down(name):
    for other in imported_siblings(PACKAGE / f"{name}.py"):
        assert FLOORS.get(other, TOP) < FLOORS[name], f"{name} imports {other}"


def test_the_pipeline_names_every_module_of_the_lower_floors():
    """The folder door copies only what `pipeline.py` itself imports."""
    assert imported_siblings(PACKAGE / "pipeline.py") == set(FLOORS) - {"pipeline"}


def test_the_package_never_imports_training():
    for file in PACKAGE.rglob("*.py"):
        modules = [n for n in ast.walk(ast.parse(file.read_text())) if isinstance(n, (ast.Import, ast.ImportFrom))]
        for node in modules:
            names = [node.module or ""] if isinstance(node, ast.ImportFrom) else [alias.name for alias in node.names]
            assert not any(name.split(".")[0] in ("training", "tests", "benchmarks") for name in names), file
