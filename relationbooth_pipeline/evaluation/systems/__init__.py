"""Who answers: systems that turn cases into pictures, named by short texts such as `ours` or `folder:PATH`."""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from ...generation.settings import GenerationSettings
from .baselines import Collage, PictureFolder, PythonFunction, Shuffled
from .ip_adapter import IPAdapter
from .loaded import LoadedPipeline
from .pictures import draw_cases, is_drawn, missing_numbers, picture_path, picture_settings, seconds_a_picture
from .relation_words import RelationWords
from .relationbooth import LATE_START, LoraTable, PlainSDXL, RelationBooth
from .subjects import CustomDiffusion, DreamBoothLora, TextualInversion
from .system import Order, System, noise_seed

__all__ = [
    "KINDS",
    "DEFAULT_SYSTEMS",
    "Order",
    "System",
    "SystemOptions",
    "build_systems",
    "draw_cases",
    "is_drawn",
    "missing_numbers",
    "noise_seed",
    "picture_path",
    "picture_settings",
    "seconds_a_picture",
]

DEFAULT_SYSTEMS = ("ours", "adapter", "sdxl", "collage", "shuffled:ours")
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")


@dataclass(frozen=True)
class SystemOptions:
    """What systems are made from.

    Attributes:
        generation: model, adapter, steps, guidance and so on, checked.
        lora_table: file of relation → RelationLoRA; None: those of the model's own folder.
        late_start: steps before image prompts act. pictures: of each case. collage_size: pixels.
        subject_weight, subject_token: of DreamBooth-LoRAs.
        ip_adapter_scale: of every masked image.
        cases_a_call: cases that one call of a pipeline draws together, where the system can.
    """

    generation: GenerationSettings
    lora_table: Path | None = None
    late_start: int = LATE_START
    pictures: int = 1
    collage_size: int = 512
    subject_weight: float = 1.0
    subject_token: str = "sks"
    ip_adapter_scale: float = 0.6
    cases_a_call: int = 1


class _Builder:
    def __init__(self, options: SystemOptions):
        self.options, self._shared, self._table = options, None, None

    @property
    def shared(self) -> LoadedPipeline:
        if self._shared is None:
            self._shared = self.own()
        return self._shared

    def own(self) -> LoadedPipeline:
        return LoadedPipeline(self.options.generation, self.options.cases_a_call)

    def bare(self) -> LoadedPipeline:
        none = {"adapter": "none", "adapter_weight_name": None, "image_encoder": None, "local_image_encoder": None}
        return LoadedPipeline(replace(self.options.generation, **none), self.options.cases_a_call)

    @property
    def table(self) -> LoraTable:
        if self._table is None:
            path = self.options.lora_table
            self._table = LoraTable.read(path) if path else LoraTable.of_model(self.shared.folder)
        return self._table

    def ip_adapter(self, name: str, source: str) -> System:
        scale = {"scale": self.options.ip_adapter_scale}
        if not source:
            return IPAdapter(name, self.bare(), **scale)
        file = Path(source)
        if not file.is_file():
            raise ValueError(
                f"`ip-adapter:` must name a local weights file, got {source!r}; leave it out for the Hub's."
            )
        return IPAdapter(name, self.bare(), str(file.parent), file.name, "image_encoder", **scale)


_Make = Callable[[_Builder, str, str], System]
# kind → (what follows the colon; None: nothing may; in brackets: may be left out, how it is made)
KINDS: dict[str, tuple[str | None, _Make]] = {
    "ours": (None, lambda b, name, _: RelationBooth(name, b.shared, b.table)),
    "adapter": (None, lambda b, name, _: RelationBooth(name, b.shared, None)),
    "late": (None, lambda b, name, _: RelationBooth(name, b.shared, None, b.options.late_start)),
    "sdxl": (None, lambda b, name, _: PlainSDXL(name, b.shared)),
    "relation-words": ("TABLE", lambda b, name, at: RelationWords(name, b.own(), at)),
    "ip-adapter": ("[FILE]", _Builder.ip_adapter),
    "dreambooth": (
        "FOLDER",
        lambda b, name, at: DreamBoothLora(name, b.bare(), at, b.options.subject_weight, b.options.subject_token),
    ),
    "textual-inversion": ("FOLDER", lambda b, name, at: TextualInversion(name, b.bare(), at)),
    "custom-diffusion": ("FOLDER", lambda b, name, at: CustomDiffusion(name, b.bare(), at)),
    "callable": ("module:function", lambda b, name, at: PythonFunction(name, at)),
    "folder": ("PATH", lambda b, name, at: PictureFolder(name, at, b.options.pictures)),
    "collage": (None, lambda b, name, _: Collage(name, b.options.collage_size)),
}


def build_systems(texts: Sequence[str], options: SystemOptions) -> list[System]:
    """Systems from texts `KIND`, `KIND:SOURCE` or `NAME=KIND:SOURCE`; `shuffled:NAME` follows the system it shuffles.

    Without a name a system is called by its kind.

    Raises:
        ValueError: an unknown kind, a source missing or too much, two systems of one name, no case a call.
    """
    if options.cases_a_call < 1:
        raise ValueError(f"`cases_a_call` must be at least 1, got {options.cases_a_call}.")
    built: dict[str, System] = {}
    builder = _Builder(options)
    for text in texts:
        name, equals, rest = text.partition("=")
        kind, colon, source = (rest if equals else text).partition(":")
        name = name if equals else (f"shuffled-{source}" if kind == "shuffled" else kind)
        if not _NAME.fullmatch(name):
            raise ValueError(f"a system's name must be letters, digits, '.', '_' or '-', got {name!r} of {text!r}.")
        if name in built:
            raise ValueError(f"two systems are called {name!r}. Name one: `other={kind}{colon}{source}`.")
        if kind == "shuffled":
            if source not in built:
                raise ValueError(f"`{text}` shuffles no system named before it; known: {', '.join(built) or 'none'}.")
            built[name] = Shuffled(name, built[source])
            continue
        if kind not in KINDS:
            raise ValueError(f"`system` must be one of {', '.join((*KINDS, 'shuffled:NAME'))}, got {text!r}.")
        form, make = KINDS[kind]
        if (form is None and source) or (form and not form.startswith("[") and not source):
            raise ValueError(f"`system` {kind} is written {kind}{':' + form if form else ''}, got {text!r}.")
        built[name] = make(builder, name, source)
    if not built:
        raise ValueError("at least one system must be named.")
    return list(built.values())
