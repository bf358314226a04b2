"""Numbers, boxes and sources as people type them: refused with the option's own name, before any model loads."""

import re
from collections.abc import Sequence
from pathlib import Path

from ..relation_files import PICKLE_SUFFIXES
from ..relation_regions import check_box

MAX_SEED = 2**32 - 1
MAX_SIDE = 4096  # pixels; four times SDXL's own side, beyond which its VAE and attention fit no accelerator
MAX_LORA_WEIGHT = 10.0
# Option → least and most. What lies outside is a slip of the finger: SDXL's noise schedule has 1000 steps, guidance
# burns colours out from about 20 on, γ above 1 already drowns the prompt.
LIMITS = {
    "count": (1, 1000),
    "seed": (0, MAX_SEED),
    "steps": (1, 1000),
    "height": (8, MAX_SIDE),
    "width": (8, MAX_SIDE),
    "guidance_scale": (0.0, 100.0),
    "guidance_rescale": (0.0, 1.0),
    "image_prompt_scale": (0.0, 10.0),
}
_REPOSITORY = re.compile(r"\w[\w.-]*/\w[\w.-]*")
_FILE_SUFFIXES = (".safetensors", *PICKLE_SUFFIXES)  # owner/name never ends so: it is a path with a slip in it
_URL = re.compile(r"(?:[A-Za-z][A-Za-z0-9+.-]+://|https?:/|data:).*", re.DOTALL)  # a `Path` keeps one slash of two


def option(name: str) -> str:
    """A setting's name as it is typed: `image_prompt_scale` → `--image-prompt-scale`."""
    return f"--{name.replace('_', '-')}"


def check_number(flag: str, value: float, least: float, most: float, multiple: int | None = None) -> None:
    """Raise a ValueError unless `value` is a finite number in [least, most].

    Whole when `least` is an int, and then a multiple of `multiple` if that is given.
    """
    whole = isinstance(least, int)
    kind = f"a multiple of {multiple}" if multiple else "a whole number" if whole else "a number"
    fits = isinstance(value, int if whole else (int, float)) and not isinstance(value, bool)
    if not (fits and least <= value <= most) or (multiple and value % multiple):
        raise ValueError(f"`{flag}` must be {kind} from {least:.10g} to {most:.10g}, got {value!r}.")


def check_boxes(boxes: Sequence[Sequence[float]], count: int) -> None:
    """Raise a ValueError unless there are `count` boxes, XYXY in [0, 1] with a positive area each."""
    if len(boxes) != count:
        raise ValueError(f"`--box` must have one entry per `--image`, got {len(boxes)} for {count} images.")
    for box in boxes:
        try:
            check_box([float(value) for value in box])  # NumPy knows no whole number beyond 64 bits
        except ValueError as error:
            raise ValueError(str(error).replace("`boxes`", "`--box`")) from error


def check_phrases(phrases: Sequence[str], count: int) -> None:
    """Raise a ValueError unless there are `count` phrases with a word in each."""
    if len(phrases) != count:
        raise ValueError(
            f"every `--image` needs a `--phrase`, its noun (e.g. --phrase cat), got {len(phrases)} for {count} images."
        )
    for phrase in phrases:
        if not phrase.strip():
            raise ValueError(f"`--phrase` must be the noun of its image, got {phrase!r}.")


def refuse_url(flag: str, source: str) -> None:
    """Raise a ValueError when `source` is an address: nothing is downloaded but Hub repositories."""
    if _URL.fullmatch(source) and not Path(source).exists():
        repository = re.search(r"(?:huggingface\.co|hf\.co)/([\w.-]+/[\w.-]+)", source)
        hint = f" For this repository write `{repository[1]}`." if repository else ""
        raise ValueError(f"`{flag}` does not read URLs, got `{source[:100]}`. Download it and name the file.{hint}")


def check_source(flag: str, source: str, files: tuple[str, ...] = ()) -> None:
    """Raise a ValueError unless `source` is a folder, a file with a suffix of `files`, or reads as a repository."""
    refuse_url(flag, source)
    path = Path(source)
    if path.is_dir() or (path.is_file() and path.suffix in files):
        return
    kinds = f"a folder, {'a ' + ', '.join(files) + ' file, ' if files else ''}or a Hub repository (owner/name)"
    if path.is_file():
        raise ValueError(f"`{flag}` must be {kinds}, got the file `{source}`.")
    if not _REPOSITORY.fullmatch(source) or path.suffix.lower() in _FILE_SUFFIXES:
        raise ValueError(f"`{flag}` must be {kinds}; there is no `{source}`. Check the path.")
