"""Many pictures from one file: JSON lines of settings, each with its output, and a line of results for each."""

import json
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from PIL import Image

from .checks import refuse_url
from .masks import DATA_URL
from .outputs import check_apart, check_output
from .requests import settings_from
from .settings import GenerationSettings

# What a line may set. Model, adapter and device are the command's: one pipeline draws all.
JOB_FIELDS = (
    "prompt", "image", "phrase", "box", "mask", "automatic_layout", "lora", "negative_prompt", "seed", "height",
    "width", "steps", "guidance_scale", "guidance_rescale", "image_prompt_scale", "local_tokens",
)  # fmt: skip


@dataclass
class Job:
    """One picture: the line it stands on (from 1), its settings, checked, and where it goes.

    Attributes:
        any_seed: the line names none, so that of the settings was drawn.
    """

    line: int
    settings: GenerationSettings
    output: Path
    any_seed: bool = False


def read_jobs(file: Path, common: GenerationSettings) -> list[Job]:
    """All jobs of a file, each checked before any model loads.

    A line is a JSON object of `JOB_FIELDS` and `output`, a PNG; blank lines and a byte order mark are passed over.
    Paths are relative to the file's folder; a LoRA that is none there is a name of the model's own or of the Hub.

    Args:
        common: model, adapter and device of all.
    Raises:
        ValueError: names the line, and what is wrong there.
    """
    if not file.is_file():
        raise ValueError(f"`--from`: there is no file `{file}`. Check the path.")
    try:
        lines = file.read_text(encoding="utf-8-sig").split("\n")  # `splitlines` ends one at U+2028, which JSON allows
    except UnicodeDecodeError as error:
        raise ValueError(f"`--from`: `{file}` is no UTF-8 text ({error}). Save it as UTF-8.") from error
    jobs = []
    for number, text in enumerate(lines, 1):
        if not text.strip():
            continue
        try:
            jobs.append(_job(number, text, file.parent, common))
        except ValueError as error:
            raise ValueError(f"`{file.name}`, line {number}: {error}") from error
    if not jobs:
        raise ValueError(f"`--from`: `{file}` holds no job. Write one JSON object a line.")
    inputs = [read for job in jobs for read in job.settings.files()]
    check_apart([(f"output of line {job.line}", job.output) for job in jobs], inputs=inputs)
    return jobs


def _job(number: int, text: str, folder: Path, common: GenerationSettings) -> Job:
    try:
        values = json.loads(text)
    except ValueError as error:
        raise ValueError(f"no JSON ({error}).") from error
    given = settings_from(values, JOB_FIELDS, ignored=("output",))
    if not isinstance(values.get("output"), str):
        raise ValueError("a job needs an `output`, the path of its PNG.")
    output = folder / values["output"]
    check_output("output", output)
    shared = (
        "model",
        "adapter",
        "adapter_weight_name",
        "image_encoder",
        "local_image_encoder",
        "device",
        "dtype",
        "offload",
    )
    settings = replace(given, **{name: getattr(common, name) for name in shared})
    settings.image = [_path("image", image, folder) for image in settings.image]
    if settings.mask is not None:
        settings.mask = [mask if _is_no_file(mask) else _path("mask", mask, folder) for mask in settings.mask]
    settings.lora = [
        (str(folder / source) if (folder / source).exists() else source, weight) for source, weight in settings.lora
    ]
    settings.checked()
    return Job(number, settings, output, any_seed=given.seed is None)


def _is_no_file(mask: Any) -> bool:
    """Whether an object's box acts, or its place is painted in the job itself."""
    return mask is None or (isinstance(mask, str) and mask.startswith(DATA_URL))


def _path(name: str, value: Any, folder: Path) -> str:
    if not isinstance(value, str):
        raise ValueError(f"`{name}` must hold paths here, got {value!r}.")
    refuse_url(name, value)
    return str(folder / value)


def draw_jobs(
    jobs: list[Job], results: Path, on_step: Callable[[int, int, int], None] | None = None
) -> Iterator[dict[str, Any]]:
    """Draw what is not there yet, on one pipeline; yields and appends to `results` one line per job.

    A line: {"line", "output", "status"} with status "drawn" (and "seed", "seconds", "warnings"), "kept" (its output is
    there already, with these settings) or "failed" (and "error"); a failed job does not stop the others. A picture of
    other settings, or without any, is a failure: it is never replaced.

    Args:
        on_step: told (number of the job from 0, steps done, steps of this picture).
    Raises:
        ValueError: model or adapter, which all jobs share, could not be loaded; nothing is drawn then.
    """
    from .drawing import prepare, save
    from .finished import check_finished
    from .sources import load_pipeline, resolve_sources

    pipe = None
    if any(not job.output.exists() for job in jobs):
        pipe = load_pipeline(resolve_sources(replace(jobs[0].settings, lora=[])), needs_adapter=False)
    for number, job in enumerate(jobs):
        told: dict[str, Any] = {"line": job.line, "output": str(job.output)}
        try:
            if job.output.exists():
                check_finished(job.output, job.settings, job.any_seed)
                told["status"] = "kept"
            else:
                began = time.monotonic()
                # Opened anew: the photos of a thousand jobs at once fit no memory.
                images: list[Image.Image] = job.settings.checked()
                generation = prepare(job.settings, images, pipe)
                step = None if on_step is None else lambda done, steps, number=number: on_step(number, done, steps)
                save(generation, generation.run(step), job.output)
                told |= {"status": "drawn", "seed": job.settings.seed, "seconds": round(time.monotonic() - began, 2)}
                told |= {"warnings": generation.warnings} if generation.warnings else {}
        except (ValueError, RuntimeError, OSError) as error:  # of memory or disk, too: the next may be smaller
            kind = "" if isinstance(error, ValueError) else f"{type(error).__name__}: "
            told |= {"status": "failed", "error": f"{kind}{error}"}
        with open(results, "a", encoding="utf-8") as file:  # a log: each line is whole when the next job begins
            file.write(json.dumps(told, ensure_ascii=False) + "\n")
        yield told
