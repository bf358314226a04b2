"""What a picture was asked for, checked before any model loads; and what its PNG keeps of that."""

import random
import re
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from PIL import Image

from ..digests import sha256
from ..relation_images import open_image
from .checks import (
    LIMITS,
    MAX_LORA_WEIGHT,
    MAX_SEED,
    check_boxes,
    check_number,
    check_phrases,
    check_source,
    option,
    refuse_url,
)
from .masks import DATA_URL, open_mask

# diffusers' own but for the steps; γ as in the paper (RelationBooth, 4.1)
SDXL_DEFAULTS = {"steps": 30, "guidance_scale": 5.0, "guidance_rescale": 0.0, "image_prompt_scale": 0.6}
# Its noise schedule ends at zero signal, where rescaled guidance keeps colours from burning out; γ of its own training.
MINIATURE_DEFAULTS = {"steps": 25, "guidance_scale": 3.0, "guidance_rescale": 0.5, "image_prompt_scale": 1.0}
SOURCES = ("model", "adapter", "image_encoder", "local_image_encoder")  # settings that name models
# A weight holds neither a slash nor a colon: C:\hug.safetensors is a path.
_WEIGHTED = re.compile(r"(.+):([^:/\\]*)")


@dataclass
class GenerationSettings:
    """Every setting of a generated picture, under the names of the command's options.

    Attributes:
        model: folder, Hub repository or single file; "miniature" for the embedded default.
        adapter: folder or repository; None: the model's own; "none": without.
        lora: (source, weight) of each LoRA; weight in [0, 10], None: what the file's header suggests, else 1.
        image, phrase, box: one entry per object; box XYXY in [0, 1], None when the layout is left to the pipeline.
        mask: painted places, one per object beside its box, None where the box acts; see `masks.open_mask`.
        automatic_layout: find the places from the sentence while denoising; without boxes.
        seed: of the first picture, the next one has `seed + 1`; None draws one.
        count: number of pictures.
        height, width: pixels, multiples of 8; None: the model's own size.
        steps, guidance_scale, guidance_rescale, image_prompt_scale: None: `SDXL_DEFAULTS` or `MINIATURE_DEFAULTS`;
            image_prompt_scale may also be one number per object.
        local_tokens: False leaves the local image encoder out.
        device, dtype, offload: see `sources.check_device`.
    """

    prompt: str
    model: str = "miniature"
    adapter: str | None = None
    adapter_weight_name: str | None = None
    image_encoder: str | None = None
    local_image_encoder: str | None = None
    lora: list[tuple[str, float | None]] = field(default_factory=list)
    image: list[str] = field(default_factory=list)
    phrase: list[str] = field(default_factory=list)
    box: list[list[float]] | None = None
    mask: list[str | None] | None = None
    automatic_layout: bool = False
    negative_prompt: str | None = None
    seed: int | None = None
    count: int = 1
    height: int | None = None
    width: int | None = None
    steps: int | None = None
    guidance_scale: float | None = None
    guidance_rescale: float | None = None
    image_prompt_scale: float | list[float] | None = None
    local_tokens: bool = True
    device: str = "auto"
    dtype: str = "auto"
    offload: str = "none"

    def checked(self) -> list[Image.Image]:
        """Raise a ValueError for anything wrong that can be seen without models; fill in defaults and seed.

        Returns:
            The opened image prompts, upright RGB.
        """
        if not self.prompt.strip():
            raise ValueError("`--prompt` must be a sentence, got an empty text.")
        if self.model != "miniature":
            check_source("--model", self.model, files=(".safetensors",))
        for name in ("adapter", "image_encoder", "local_image_encoder"):
            source = getattr(self, name)
            if source is not None and (name == "image_encoder" or source != "none"):
                check_source(option(name), source)
        self._check_adapter_options()
        self._check_numbers()
        for source, weight in self.lora:
            refuse_url("--lora", source)
            if weight is not None:
                check_number("--lora PATH:WEIGHT", weight, 0.0, MAX_LORA_WEIGHT)
        return self._image_prompts()

    def _image_prompts(self) -> list[Image.Image]:
        if not self.image:
            for name in ("phrase", "box", "mask", "automatic_layout"):
                if getattr(self, name):
                    raise ValueError(
                        f"`{option(name)}` was given without `--image`. Pass one `--image` per object, or neither."
                    )
            return []
        if self.adapter == "none":
            raise ValueError(
                "`--adapter none` turns image prompts off, but `--image` was given. Leave one of them out."
            )
        check_phrases(self.phrase, len(self.image))
        self._check_places()
        images = []
        for source in self.image:
            refuse_url("--image", source)
            try:
                images.append(open_image(source))
            except ValueError as error:
                raise ValueError(f"`--image`: {error}") from error
        return images

    def _check_places(self) -> None:
        if self.automatic_layout and (self.box or self.mask):
            raise ValueError("`--automatic-layout` finds the places itself. Leave it out, or `--box` and `--mask`.")
        if self.box is not None:
            check_boxes(self.box, len(self.image))
        if self.mask is not None:
            if len(self.mask) != len(self.image):
                raise ValueError(
                    f"`--mask` must have one entry per `--image`, got {len(self.mask)} for {len(self.image)}."
                )
            for mask in filter(None, self.mask):
                open_mask(mask)

    def _check_adapter_options(self) -> None:
        for name in ("adapter_weight_name", "image_encoder", "local_image_encoder"):
            if getattr(self, name) is not None and self.adapter in (None, "none"):
                raise ValueError(f"`{option(name)}` belongs to an adapter. Name it with `--adapter`.")
        if self.adapter_weight_name and Path(self.adapter or "").is_dir():
            file = Path(self.adapter) / self.adapter_weight_name
            if not file.is_file():
                raise ValueError(f"no file `{file}`. Check `--adapter-weight-name`.")

    def _check_numbers(self) -> None:
        for name, value in (MINIATURE_DEFAULTS if self.model == "miniature" else SDXL_DEFAULTS).items():
            if getattr(self, name) is None:
                setattr(self, name, value)
        for name, (least, most) in LIMITS.items():
            given = getattr(self, name)
            if name == "image_prompt_scale" and isinstance(given, list) and len(given) != len(self.image):
                raise ValueError(f"`{option(name)}` must be one number, or one per `--image`, got {len(given)}.")
            for value in given if isinstance(given, list) else [] if given is None else [given]:
                check_number(option(name), value, least, most, multiple=8 if name in ("height", "width") else None)
        last = MAX_SEED - self.count + 1
        if self.seed is None:
            self.seed = random.SystemRandom().randrange(last)
        if self.seed > last:
            raise ValueError(f"`--seed` of {self.count} pictures must be at most {last}, got {self.seed}.")

    def files(self) -> list[str]:
        """Paths of the image prompts, and of the masks that are files."""
        return [*self.image, *(mask for mask in self.mask or [] if _is_file(mask))]

    def as_record(self) -> dict[str, Any]:
        """What a PNG keeps, JSON-ready: all of it, with names in place of this machine's paths.

        Images and masks from files become {"name", "sha256"}; of local models, adapters and LoRAs the last part of the
        path stays.
        """
        record = asdict(self)
        del record["count"]  # of the command, not of one picture
        for name in SOURCES:
            if record[name] is not None:
                record[name] = _name(record[name])
        record["image"] = [_reference(file) for file in self.image]
        if self.mask is not None:
            record["mask"] = [_reference(mask) if _is_file(mask) else mask for mask in self.mask]
        record["lora"] = [[_name(source), weight] for source, weight in self.lora]
        return record


def _is_file(mask: str | None) -> bool:
    return bool(mask) and not mask.startswith(DATA_URL)


def _reference(file: str) -> dict[str, str]:
    return {"name": Path(file).name, "sha256": sha256(file)}


def _name(source: str) -> str:
    """The last part of a local path; a repository or a name as it is."""
    path = Path(source)
    return path.resolve().name if path.exists() else source


def parse_box(text: str) -> list[float]:
    """ "x0,y0,x1,y1" → four numbers; their range is checked with the others."""
    try:
        return [float(part) for part in text.split(",")]
    except ValueError as error:
        raise ValueError(f'`--box` must be "x0,y0,x1,y1", numbers in [0, 1], got {text!r}.') from error


def parse_lora(text: str) -> tuple[str, float | None]:
    """ "SOURCE" or "SOURCE:WEIGHT" → (source, weight or None)."""
    refuse_url("--lora", text)
    weighted = None if Path(text).exists() else _WEIGHTED.fullmatch(text)
    if not weighted:
        return text, None
    try:
        return weighted[1], float(weighted[2])
    except ValueError as error:
        raise ValueError(f"`--lora` must be PATH or PATH:WEIGHT, a number, got {text!r}.") from error
