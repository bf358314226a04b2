"""Whether a picture that is there already is the one asked for: its settings against the job's, without a model."""

import functools
import json
from pathlib import Path
from typing import Any

from diffusers import AutoencoderKL, UNet2DConditionModel

from ..relation_images import short_repr
from ..relation_layouts import default_boxes
from ..relation_regions import RelationMetadata, read_relation_metadata
from ..sheets.png_settings import read_png_settings
from .drawing import PICTURE_KIND, asked_record
from .settings import GenerationSettings
from .sources import lora_file, resolve_sources

WHERE = ("device", "offload")  # where a picture was drawn does not decide it
SDXL_SIZE = (1024, 1024)  # of a single file, which brings no configs: diffusers takes SDXL's
_ADVICE = "Remove it or name another output."


def check_finished(path: Path, settings: GenerationSettings, any_seed: bool = False) -> None:
    """Raise a ValueError unless the picture at `path` tells the settings that it would be drawn with.

    Args:
        settings: checked. any_seed: theirs was drawn, so the picture's may be another.
    """
    try:
        there = read_png_settings(path)
    except ValueError as error:
        raise ValueError(f"what is there as the output cannot be read: {error} {_ADVICE}") from error
    if there is None:
        raise ValueError(f"`{path}` holds a picture without settings, another program's or an edited one. {_ADVICE}")
    asked = json.loads(json.dumps(_expected_record(settings)))  # as it comes back from a PNG: tuples are lists
    compared = [name for name in asked if name not in WHERE and not (any_seed and name == "seed")]
    different = [name for name in compared if there.get(name) != asked[name]]
    if different:
        shown = ", ".join(f"{name}: {short_repr(there.get(name))} → {short_repr(asked[name])}" for name in different)
        raise ValueError(f"`{path}` holds a picture of other settings ({shown}). {_ADVICE}")


def _expected_record(settings: GenerationSettings) -> dict[str, Any]:
    """What `picture_record` would tell of the first picture, but for the version."""
    resolved = resolve_sources(settings)
    record = asked_record(settings, resolved) | {"kind": PICTURE_KIND}
    if settings.image and not settings.automatic_layout:
        record["box"] = settings.box or default_boxes(_heaviest_relation(resolved.lora), len(settings.image))
    if None in (settings.height, settings.width):
        height, width = _own_size(resolved.model)
        record |= {"height": settings.height or height, "width": settings.width or width}
    return record


def _heaviest_relation(loras: list[tuple[str, float]]) -> RelationMetadata | None:
    """What the pipeline's `heaviest_relation` gives with these LoRAs alone in it."""
    acting = [(read_relation_metadata(lora_file(source)), weight) for source, weight in loras if weight > 0]
    told = [pair for pair in acting if pair[0] is not None]
    return max(told, key=lambda pair: pair[1])[0] if told else None


@functools.cache
def _own_size(model: str) -> tuple[int, int]:
    """(height, width) that a model draws where nothing is said, from its configs alone."""
    if Path(model).is_file():
        return SDXL_SIZE
    try:
        side = UNet2DConditionModel.load_config(model, subfolder="unet")["sample_size"]
        factor = 2 ** (len(AutoencoderKL.load_config(model, subfolder="vae")["block_out_channels"]) - 1)
    except OSError as error:
        raise ValueError(f"the configs of the model `{model}` could not be read ({error}).") from error
    height, width = (side, side) if isinstance(side, int) else side
    return height * factor, width * factor
