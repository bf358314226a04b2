"""What `relationbooth generate` was asked for, checked before any model loads; also what its PNG keeps."""

import os
import random
import re
from dataclasses import asdict, dataclass, field
from pathlib import Path

from PIL import Image

from ..relation_images import open_image
from ..relation_inputs import phrases_per_sample, scales_per_sample
from ..relation_regions import boxes_per_sample

MAX_SEED = 2**32 - 1
# diffusers' own but for the steps; γ as in the paper (RelationBooth, 4.1)
SDXL_DEFAULTS = {"steps": 30, "guidance_scale": 5.0, "guidance_rescale": 0.0, "image_prompt_scale": 0.6}
# Its noise schedule ends at zero signal, where rescaled guidance keeps colours from burning out; γ of its own training.
MINIATURE_DEFAULTS = {"steps": 25, "guidance_scale": 3.0, "guidance_rescale": 0.5, "image_prompt_scale": 1.0}
_REPOSITORY = re.compile(r"[\w.-]+/[\w.-]+")
_WEIGHTED = re.compile(r"(.+):(-?\d+(?:\.\d+)?)")


@dataclass
class GenerationSettings:
    """Every setting of a generated picture, under the names of the command's flags.

    Attributes:
        model: folder, Hub repository or single file; "miniature" for the embedded default.
        adapter: folder or repository; None: the model's own.
        lora: (source, weight) of each LoRA.
        image, phrase, box: one entry per object; box XYXY in [0, 1], None when the layout is left to the pipeline.
        height, width: pixels; None: the model's own size.
        steps, guidance_scale, guidance_rescale, image_prompt_scale: None: `SDXL_DEFAULTS` or `MINIATURE_DEFAULTS`.
        seed: None draws one.
    """

    prompt: str
    model: str = "miniature"
    adapter: str | None = None
    adapter_weight_name: str | None = None
    image_encoder: str | None = None
    local_image_encoder: str | None = None
    lora: list[tuple[str, float]] = field(default_factory=list)
    image: list[str] = field(default_factory=list)
    phrase: list[str] = field(default_factory=list)
    box: list[list[float]] | None = None
    negative_prompt: str | None = None
    seed: int | None = None
    height: int | None = None
    width: int | None = None
    steps: int | None = None
    guidance_scale: float | None = None
    guidance_rescale: float | None = None
    image_prompt_scale: float | None = None
    device: str = "auto"
    dtype: str = "auto"
    offload: str = "none"

    def checked(self) -> list[Image.Image]:
        """Raise a ValueError for anything wrong that can be seen without models; fill in defaults and seed.

        Returns:
            The opened image prompts.
        """
        if not self.prompt.strip():
            raise ValueError("`--prompt` must be a sentence, got an empty text.")
        if self.model != "miniature":
            check_source("--model", self.model, files=(".safetensors",))
        for name in ("adapter", "image_encoder", "local_image_encoder"):
            source = getattr(self, name)
            if source is not None and (name == "image_encoder" or source != "none"):
                check_source(f"--{name.replace('_', '-')}", source)
        self._check_adapter_options()
        self._check_numbers()
        images = [open_image(path) for path in self.image]
        if not images:
            for name in ("phrase", "box"):
                if getattr(self, name):
                    raise ValueError(
                        f"`--{name}` was given without `--image`. Pass one `--image` per object, or neither."
                    )
            return []
        if self.adapter == "none":
            raise ValueError(
                "`--adapter none` turns image prompts off, but `--image` was given. Leave one of them out."
            )
        if not self.phrase:
            raise ValueError("every `--image` needs a `--phrase`, its noun (e.g. --phrase cat), got none.")
        phrases_per_sample(self.phrase, [len(images)])
        if self.box is not None:
            boxes_per_sample(self.box, [len(images)])
        scales_per_sample(self.image_prompt_scale, [len(images)])
        return images

    def _check_adapter_options(self) -> None:
        for name in ("adapter_weight_name", "image_encoder", "local_image_encoder"):
            if getattr(self, name) is not None and self.adapter in (None, "none"):
                raise ValueError(f"`--{name.replace('_', '-')}` belongs to an adapter. Name it with `--adapter`.")
        if self.adapter_weight_name and Path(self.adapter or "").is_dir():
            file = Path(self.adapter) / self.adapter_weight_name
            if not file.is_file():
                raise ValueError(f"no file `{file}`. Check `--adapter-weight-name`.")

    def _check_numbers(self) -> None:
        for name, value in (MINIATURE_DEFAULTS if self.model == "miniature" else SDXL_DEFAULTS).items():
            if getattr(self, name) is None:
                setattr(self, name, value)
        for name in ("height", "width"):
            side = getattr(self, name)
            if side is not None and (side < 8 or side % 8):
                raise ValueError(f"`--{name}` must be a positive multiple of 8, got {side}.")
        if self.steps < 1:
            raise ValueError(f"`--steps` must be at least 1, got {self.steps}.")
        if not 0 <= self.guidance_rescale <= 1:
            raise ValueError(f"`--guidance-rescale` must be in [0, 1], got {self.guidance_rescale}.")
        if self.seed is None:
            self.seed = random.SystemRandom().randrange(MAX_SEED)
        if not 0 <= self.seed <= MAX_SEED:
            raise ValueError(f"`--seed` must be in [0, {MAX_SEED}], got {self.seed}.")

    def as_dict(self) -> dict:
        return asdict(self)


def check_source(flag: str, source: str, files: tuple[str, ...] = ()) -> None:
    """Raise a ValueError unless `source` is a folder, a file with a suffix of `files`, or reads as a repository."""
    path = Path(source)
    if path.is_dir() or (path.is_file() and path.suffix in files):
        return
    kinds = f"a folder, {'a ' + ', '.join(files) + ' file, ' if files else ''}or a Hub repository (owner/name)"
    if path.is_file():
        raise ValueError(f"`{flag}` must be {kinds}, got the file `{source}`.")
    if not _REPOSITORY.fullmatch(source):
        raise ValueError(f"`{flag}` must be {kinds}; there is no `{source}`. Check the path.")


def parse_box(text: str) -> list[float]:
    """ "x0,y0,x1,y1" → four numbers; their range is checked with the others."""
    try:
        return [float(part) for part in text.split(",")]
    except ValueError as error:
        raise ValueError(f'`--box` must be "x0,y0,x1,y1", numbers in [0, 1], got {text!r}.') from error


def parse_lora(text: str) -> tuple[str, float | None]:
    """ "SOURCE" or "SOURCE:WEIGHT" → (source, weight or None)."""
    weighted = None if Path(text).exists() else _WEIGHTED.fullmatch(text)
    return (weighted[1], float(weighted[2])) if weighted else (text, None)


def check_output(flag: str, path: Path) -> None:
    """Raise a ValueError unless a PNG can be written at `path`."""
    if path.suffix.lower() != ".png":
        raise ValueError(f"`{flag}` must end in .png (the settings are kept in the PNG), got `{path}`.")
    if path.is_dir():
        raise ValueError(f"`{flag}` must be a file, but `{path}` is a folder.")
    if not path.absolute().parent.is_dir():
        raise ValueError(f"`{flag}`: the folder `{path.absolute().parent}` does not exist. Create it first.")
    if not os.access(path.absolute().parent, os.W_OK):
        raise ValueError(f"`{flag}`: the folder `{path.absolute().parent}` is not writable. Choose another.")
