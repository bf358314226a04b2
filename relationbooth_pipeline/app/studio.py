"""The one pipeline that everybody on the page shares: loaded while the page is open already, one picture at a time."""

import json
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from PIL import Image

    from ..generation.drawing import Generation
    from ..generation.settings import GenerationSettings

# What a visitor may say of a picture. The rest (model, files, device) is the host's.
REQUEST_FIELDS = (
    "prompt", "phrase", "box", "mask", "automatic_layout", "lora", "negative_prompt", "seed", "height", "width",
    "steps", "guidance_scale", "guidance_rescale", "image_prompt_scale", "local_tokens",
)  # fmt: skip
# What the host's choices are called in a written picture: another one draws another picture.
OWN_FIELDS = ("model", "adapter", "adapter_weight_name", "image_encoder", "local_image_encoder", "dtype")
# Per picture, so that one visitor cannot hold the model for hours.
MOST = {"steps": 150, "height": 2048, "width": 2048}
MAX_OBJECTS, MAX_LORAS = 6, 3
MOST_TEXT = 2_000  # characters of the prompt, of the negative prompt, and of each phrase
MOST_PICTURES = 8  # of one request


@dataclass
class Offer:
    """A LoRA that the page offers: `source` and `weight` as in `--lora`, template and layout from its header."""

    name: str
    source: str
    weight: float = 1.0
    template: str | None = None
    layout: list[list[float]] | None = None

    def sentence(self, phrases: list[str]) -> str | None:
        """The template filled with the phrases; None when it is for another number of objects, or has other slots."""
        if not self.template or self.layout is None or len(self.layout) != len(phrases):
            return None
        try:
            return self.template.format(*phrases)
        except (AttributeError, IndexError, KeyError, TypeError, ValueError):  # a header that another program wrote
            return None


def _own_header(file: Path) -> SimpleNamespace:
    """The fields of a header that came with this package: what `read_relation_metadata` gives, without torch."""
    from safetensors import safe_open

    from ..relation_files import HEADER_KEY

    with safe_open(file, "np") as lora:
        return SimpleNamespace(**json.loads(lora.metadata()[HEADER_KEY]))


class Studio:
    """Loads once and prepares pictures.

    Args:
        loras: further LoRAs to offer, as `--lora` takes them. base: model, adapter and device, as `GenerationSettings`.

    Attributes:
        stage: what loading does now, for people; "ready" at the end.
        described: set when examples and the model's own LoRAs are known, seconds before `loaded`, or with a fault.
        fault: why loading failed.
        offers: LoRAs by the name that the page shows.
        defaults: `GenerationSettings` fields of a picture of which nothing is said, with height and width.
        lock: held while the pipeline is in use.
    """

    def __init__(self, loras: Sequence[str] = (), **base):
        self.loras, self.base = list(loras), {"model": "miniature", **base}
        self.stage, self.fault = "starting", None
        self.offers: dict[str, Offer] = {}
        self.defaults: dict = {}
        self.examples: list[tuple[str, Path]] = []
        self.pipe = None
        self.lock = threading.Lock()
        self.described, self.loaded = threading.Event(), threading.Event()

    def load(self) -> None:
        """Import the libraries, load model, adapter and the headers of the LoRAs.

        Raises:
            ValueError: something could not be loaded; also kept as `fault`, for the page.
        """
        try:
            self._load()
            self.stage = "ready"
        except Exception as error:
            self.stage, self.fault = "failed", str(error)
            raise
        finally:
            self.described.set()
            self.loaded.set()

    def stages(self) -> Iterator[str]:
        """What loading does, several times a second until it has ended.

        Raises:
            ValueError: the model could not be loaded.
        """
        while not self.loaded.wait(0.3):
            yield self.stage
        if self.fault is not None:
            raise ValueError(f"the model could not be loaded: {self.fault}")

    def wait(self) -> None:
        """Return when the model is loaded. Before, no other thread may import what loading imports.

        Raises:
            ValueError: it could not be loaded.
        """
        for _ in self.stages():
            pass

    def _load(self) -> None:
        self.stage = "loading the libraries"
        self._describe()
        self.described.set()
        from ..generation.settings import MINIATURE_DEFAULTS, SDXL_DEFAULTS, GenerationSettings, parse_lora
        from ..generation.sources import load_pipeline, resolve_sources
        from .preview import Preview

        self.stage = "checking the sources"
        settings = GenerationSettings("a picture", **self.base)
        settings.checked()
        record = settings.as_record()
        self.own_names = {name: record[name] for name in OWN_FIELDS}
        resolved = resolve_sources(settings)
        self.stage = "loading the model"
        self.pipe = load_pipeline(resolved, needs_adapter=False)
        self.stage = "reading the LoRAs"
        for text in self.loras:
            self._offer(*parse_lora(text))
        side = self.pipe.default_sample_size
        height, width = (v * self.pipe.vae_scale_factor for v in ((side, side) if isinstance(side, int) else side))
        self.defaults = {**(SDXL_DEFAULTS if self.base["model"] != "miniature" else MINIATURE_DEFAULTS),
                         "height": height, "width": width}  # fmt: skip
        self.preview = Preview(self.pipe) if settings.offload == "none" else None

    def _describe(self) -> None:
        """What a page shows first: examples and the model's own LoRAs, from headers. For the miniature without torch,
        for whose seconds a visitor would wait."""
        from .. import miniature
        from ..relation_files import LORA_WEIGHT_NAME

        small = self.base["model"] == "miniature"
        if small:
            folder, read = miniature.path(), _own_header
        else:
            from ..relation_regions import read_relation_metadata as read

            folder = Path(self.base["model"])
        for file in sorted(folder.glob(f"relation_loras/*/{LORA_WEIGHT_NAME}")):
            name, header = file.parent.name, read(file)
            self.offers[name] = Offer(name, name)
            if header is not None:
                self.offers[name] = Offer(name, name, header.scale, header.template, header.layout_prior)
        if small:
            self.examples = [(file.stem, file) for file in reversed(sorted((folder / "references").glob("*.png")))]

    def _offer(self, source: str, weight: float | None) -> None:
        """Loaded once, so that a LoRA that does not fit is told at the start; its header comes with it."""
        from ..generation.settings import GenerationSettings
        from ..generation.sources import load_loras, resolve_sources

        settings = GenerationSettings("a picture", lora=[(source, weight)], **self.base)
        resolved = resolve_sources(settings)
        load_loras(self.pipe, [(resolved.lora[0][0], 1.0)])  # at weight 1 its header acts, whatever was asked for
        header = self.pipe.heaviest_relation()
        load_loras(self.pipe, [])
        name = settings.as_record()["lora"][0][0]  # as written pictures call it
        if name in self.offers and self.offers[name].source != source:
            raise ValueError(
                f"`--lora`: `{source}` would be called {name!r}, as another LoRA here already is. Name its folder, or "
                "rename it."
            )
        self.offers[name] = Offer(name, source, settings.lora[0][1])
        if header is not None:
            self.offers[name].template, self.offers[name].layout = header.template, header.layout_prior

    def lora_sha256(self, name: str) -> str:
        """Of the file of an offered LoRA, as written pictures tell it."""
        from ..generation.settings import GenerationSettings, sha256
        from ..generation.sources import lora_file, resolve_sources

        given = GenerationSettings("a picture", lora=[(self.offers[name].source, 1.0)], **self.base)
        return sha256(lora_file(resolve_sources(given).lora[0][0]))

    def settings(
        self, request: dict, images: list[str], count: int = 1
    ) -> tuple["GenerationSettings", list["Image.Image"]]:
        """Checked `GenerationSettings` of what a visitor asks for, and the opened image prompts.

        Args:
            request: `REQUEST_FIELDS`; `lora` as [name of an offer, weight or None] each.
            images: paths of uploads, as the server gave them; never a visitor's text.
            count: number of pictures.
        Raises:
            ValueError: names what is wrong.
        """
        from ..generation.masks import DATA_URL
        from ..generation.requests import settings_from

        settings = settings_from(request, REQUEST_FIELDS)
        for name, most in MOST.items():
            value = getattr(settings, name)
            if value is not None and value > most:
                raise ValueError(f"`{name}` must be at most {most} here, got {value}.")
        for name, given, most in (("image", images, MAX_OBJECTS), ("lora", settings.lora, MAX_LORAS)):
            if len(given) > most:  # each takes memory of all visitors
                raise ValueError(f"`{name}` must have at most {most} entries here, got {len(given)}.")
        for name in ("prompt", "negative_prompt", "phrase"):
            given = getattr(settings, name) or ""
            if any(len(text) > MOST_TEXT for text in (given if isinstance(given, list) else [given])):
                raise ValueError(f"`{name}` must have at most {MOST_TEXT} characters.")
        if any(mask is not None and not str(mask).startswith(DATA_URL) for mask in settings.mask or []):
            raise ValueError(
                "`mask` must be painted here: a data URL of a PNG, or null."
            )  # never a file of this machine
        loras = []
        for name, weight in settings.lora:
            if name not in self.offers:
                raise ValueError(f"`lora` must be one of {', '.join(self.offers) or 'none'}, got {name[:80]!r}.")
            offer = self.offers[name]
            loras.append((offer.source, offer.weight if weight is None else weight))
        settings.lora, settings.image, settings.count = loras, images, count
        for name, value in self.base.items():
            setattr(settings, name, value)
        for name, value in self.defaults.items():
            if getattr(settings, name) is None:
                setattr(settings, name, value)
        return settings, settings.checked()

    def prepare(self, settings: "GenerationSettings", images: list["Image.Image"]) -> "Generation":
        """A `Generation` on the shared pipeline; call it, and run the result, under `lock`."""
        from ..generation.drawing import prepare

        return prepare(settings, images, self.pipe)
