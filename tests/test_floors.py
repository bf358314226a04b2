"""Which room a file is in, and that imports only look down: to rooms below it, within the core to floors below."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "relationbooth_pipeline"
# Within the folder that the folder door copies. Files of one floor never import one another.
FLOORS = {
    "relation_images": 0,
    "relation_files": 0,
    "relation_inputs": 0.2,  # reads images; floor 0 in steps
    "relation_regions": 0.4,
    "relation_layouts": 0.6,
    "relation_rows": 0.8,
    "relation_attention": 1,
    "relation_resampler": 1,
    "relation_image_encoder": 1,
    "relation_adapter": 2,
    "relation_lora": 2,
    "relation_conversion": 2.3,  # builds adapters and encoders from others' files
    "relation_loaders": 2.6,
    "relation_conditioning": 2.6,  # the pipeline's steps before denoising
    "pipeline": 3,
}
# Room → rooms below it that it may import from, beside its own files.
CORE = ""
BELOW = {
    "relationbooth_pipeline": (),
    "relationbooth_pipeline/digests": (CORE,),
    "relationbooth_pipeline/miniature": (),
    "relationbooth_pipeline/parallel": (),
    "relationbooth_pipeline/vision": (CORE, "digests", "miniature"),
    "relationbooth_pipeline/triplets": (CORE,),
    "relationbooth_pipeline/sheets": (CORE, "triplets"),
    "relationbooth_pipeline/generation": (CORE, "digests", "miniature", "sheets"),
    "relationbooth_pipeline/exchange": (CORE,),
    "relationbooth_pipeline/app": (CORE, "miniature", "sheets", "generation"),
}
# The data engine: who draws, who looks, and the stages that ask them.
BELOW["relationbooth_pipeline/triplets/generators"] = (CORE, "digests", "miniature", "sheets", "generation", "triplets")
BELOW["relationbooth_pipeline/triplets/annotators"] = (CORE, "digests", "miniature", "vision", "triplets")
ENGINE = ("triplets/generators", "triplets/annotators")
BELOW["relationbooth_pipeline/triplets/engine"] = (
    CORE, "miniature", "parallel", "vision", "triplets", "sheets", "generation", *ENGINE,
)  # fmt: skip
BELOW["relationbooth_pipeline/triplets/annotation"] = (
    *BELOW["relationbooth_pipeline/triplets/engine"], "triplets/engine",
)  # fmt: skip
BELOW["relationbooth_pipeline/triplets/review"] = (CORE, "triplets", "triplets/engine", "triplets/annotation")
# The evaluation's rooms, in the order of its data: each knows those of the one before.
EVALUATION = ("cases", "benches", "systems", "metrics", "statistics", "report")
_lower = (CORE, "digests", "miniature", "parallel", "vision", "triplets", "sheets", "generation")
for number, name in enumerate(EVALUATION):
    above = tuple(f"evaluation/{other}" for other in EVALUATION[:number])
    BELOW[f"relationbooth_pipeline/evaluation/{name}"] = (*_lower, *above)
BELOW["relationbooth_pipeline/evaluation"] = (*_lower, *(f"evaluation/{name}" for name in EVALUATION))
BELOW["relationbooth_pipeline/commands"] = (
    *_lower,
    "app",
    "exchange",
    "evaluation",
    *(f"evaluation/{name}" for name in EVALUATION),
    "commands/triplets",
)
BELOW["relationbooth_pipeline/commands/triplets"] = (
    *_lower, "app", "exchange", *ENGINE, "triplets/engine", "triplets/annotation", "triplets/review", "commands"
)  # fmt: skip
TRAINING_BELOW = {
    "training/common": (),
    "training/lora": ("training/common",),
    "training/adapter": ("training/common",),
    "training/encoder": ("training/common",),
    "training": ("training/common", "training/lora", "training/adapter", "training/encoder"),
    "training/miniature/world/poses": (),
    "training/miniature/world": ("training/miniature/world/poses",),
    "training/miniature/optimization": (),
    "training/miniature/stages": ("training/miniature/optimization", "training/common", "training/lora",
                                  "training/adapter", "training/encoder", "training",
                                  "training/miniature/world/poses", "training/miniature/world"),
}  # fmt: skip
TRAINING_BELOW["training/miniature/subjects"] = (
    *TRAINING_BELOW["training/miniature/stages"],
    "training/miniature/stages",
)
TRAINING_BELOW["training/miniature/judges"] = (
    *TRAINING_BELOW["training/miniature/stages"],
    "training/miniature/stages",
)
TRAINING_BELOW["training/miniature/measure"] = (
    *TRAINING_BELOW["training/miniature/judges"],
    "training/miniature/judges",
    "training/miniature/subjects",
)
TRAINING_BELOW["training/miniature/ablations"] = (
    *TRAINING_BELOW["training/miniature/measure"],
    "training/miniature/measure",
)
TRAINING_BELOW["training/miniature"] = (*TRAINING_BELOW["training/miniature/ablations"], "training/miniature/ablations")


def imports(file: Path) -> set[Path]:
    """Folders and files of this project that `file` imports, as paths without suffix."""
    found, package = set(), file.parent
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom):
            if node.level:
                base = package
                for _ in range(node.level - 1):
                    base = base.parent
            else:
                base = ROOT
            target = base.joinpath(*(node.module or "").split("."))
            names = [target / alias.name for alias in node.names]
            found |= {n for n in names if n.is_dir() or n.with_suffix(".py").is_file()} or {target}
        elif isinstance(node, ast.Import):
            found |= {ROOT.joinpath(*alias.name.split(".")) for alias in node.names}
    return {path for path in found if path.with_suffix(".py").is_file() or path.is_dir()}


def room(path: Path) -> str:
    """Folder of a module: `path` is one without its suffix, or a package's folder."""
    folder = path if path.is_dir() and not path.with_suffix(".py").is_file() else path.parent
    return folder.relative_to(ROOT).as_posix()


def files_of(folder: str) -> list[Path]:
    return sorted((ROOT / folder).glob("*.py"))


@pytest.mark.parametrize("name", FLOORS)
def test_imports_of_the_core_look_down(name):
    for other in imports(PACKAGE / f"{name}.py"):
        if PACKAGE in other.parents or other == PACKAGE:
            assert other.parent == PACKAGE, f"{name} imports {other}"
            assert FLOORS.get(other.name, 9) < FLOORS[name], f"{name} imports {other.name}"


def test_the_package_s_own_folder_holds_exactly_what_the_folder_door_copies():
    found = {file.name for file in PACKAGE.iterdir() if file.is_file()}
    assert found == {"__init__.py", "py.typed", *(f"{name}.py" for name in FLOORS)}


def test_the_pipeline_names_every_module_of_the_lower_floors():
    """The folder door copies only what `pipeline.py` itself imports."""
    assert {path.name for path in imports(PACKAGE / "pipeline.py")} == set(FLOORS) - {"pipeline"}


def test_every_folder_is_a_known_room():
    for top, rooms in (("relationbooth_pipeline", BELOW), ("training", TRAINING_BELOW)):
        folders = {f.parent.relative_to(ROOT).as_posix() for f in (ROOT / top).rglob("*.py") if f.read_text().strip()}
        assert folders == set(rooms)


@pytest.mark.parametrize("folder", [name for name in BELOW if name != "relationbooth_pipeline"])
def test_rooms_of_the_package_look_down(folder):
    allowed = {folder, *(f"relationbooth_pipeline/{name}".rstrip("/") for name in BELOW[folder])}
    for file in files_of(folder):
        for other in imports(file):
            assert room(other) in allowed, f"{file.relative_to(ROOT)} imports {other.relative_to(ROOT)}"


@pytest.mark.parametrize("folder", TRAINING_BELOW)
def test_rooms_of_training_look_down(folder):
    allowed = {folder, *TRAINING_BELOW[folder]}
    for file in files_of(folder):
        for other in imports(file):
            if room(other).split("/")[0] == "relationbooth_pipeline":
                continue
            assert room(other) in allowed, f"{file.relative_to(ROOT)} imports {other.relative_to(ROOT)}"


def test_the_package_never_imports_training():
    for file in PACKAGE.rglob("*.py"):
        for other in imports(file):
            assert room(other).split("/")[0] == "relationbooth_pipeline", f"{file} imports {other}"


def test_no_room_is_crowded_and_no_file_is_long():
    for top in ("relationbooth_pipeline", "training", "benchmarks", "hub_cards", "tests"):
        for folder in {file.parent for file in (ROOT / top).rglob("*.py")}:
            assert len(list(folder.glob("*.py"))) <= 16, f"{folder} holds more than 16 Python files"
        for file in (ROOT / top).rglob("*.py"):
            lines = len(file.read_text(encoding="utf-8").splitlines())
            assert lines <= 250, f"{file} has {lines} lines; which sentence is it? Split it at the 'and'"
