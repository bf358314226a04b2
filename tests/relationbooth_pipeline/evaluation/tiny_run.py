"""A run that needs no pipeline: a function, pasted photos and shuffled pictures, read with tiny CLIP and DINO."""

import os
import signal
from pathlib import Path

from PIL import Image

from relationbooth_pipeline.evaluation.engine import Run, RunOptions
from relationbooth_pipeline.evaluation.metrics import MetricOptions
from relationbooth_pipeline.evaluation.systems import SystemOptions
from relationbooth_pipeline.generation.settings import GenerationSettings

DIES_ONCE = "RELATIONBOOTH_TEST_DIES_ONCE"  # environment: file that the death leaves
SYSTEMS = (
    "mine=callable:tests.relationbooth_pipeline.evaluation.tiny_run:draw",
    "collage",
    "shuffled:mine",
)


def draw(case, photos, seeds):
    """The first photo, shrunk, under a colour of the seed; ends its process where `DIES_ONCE` asks for it."""
    mark = os.environ.get(DIES_ONCE)
    if mark and case.id == "pair-1" and not Path(mark).exists():
        Path(mark).write_text(case.id, encoding="utf-8")
        os.kill(os.getpid(), signal.SIGKILL)
    pictures = []
    for seed in seeds:
        color = tuple((seed >> shift) % 256 for shift in (0, 8, 16))
        pictures.append(Image.blend(photos[0].resize((40, 32)), Image.new("RGB", (40, 32), color), 0.5))
    return pictures


def run_options(bench: Path, output: Path, models: dict, **changes) -> RunOptions:
    settings = GenerationSettings(prompt="any", seed=0, device="cpu")
    settings.checked()
    fields = {
        "bench": str(bench),
        "output": output,
        "systems": SYSTEMS,
        "system_options": SystemOptions(settings, pictures=2, collage_size=32),
        "metric_options": MetricOptions(models["clip"], models["dino"]),
        "pictures": 2,
    }
    return RunOptions(**{**fields, **changes})


def finished(options: RunOptions) -> Run:
    run = Run(options)
    for stage in ("draw", "score"):
        for _ in run.work(stage):
            pass
    return run


def kept(root: Path) -> dict[str, bytes]:
    """Every file of a run that must not depend on how it was run; hidden ones were left by a process that died."""
    folders = ("pictures", "scores", "features")
    files = [file for name in folders for file in (root / name).rglob("[!.]*") if file.is_file()]
    return {file.relative_to(root).as_posix(): file.read_bytes() for file in files}
