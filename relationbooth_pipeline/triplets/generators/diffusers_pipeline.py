"""Any text-to-image or image-editing pipeline of diffusers, loaded by `DiffusionPipeline.from_pretrained`."""

import gc
import inspect
import json
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

from ...digests import named_source
from ..keys import refuse_keys
from .generator import Drawn, Generator, Refused, Request, Undrawn

# In the names of classes that fail without a picture, although their signature leaves it out: QwenImageEditPlus, …
EDITS = ("Edit", "Layered")


class DiffusersPipeline(Generator):
    """A pipeline that draws from `prompt`, and when its call takes `image`, edits pictures.

    Whether it does is read from its class before any weights load. Known to work this way: `Flux2KleinPipeline`
    (`num_inference_steps=4, guidance_scale=1` when distilled) and `QwenImageEditPlusPipeline` (which only edits);
    several pictures of a request go as one list, as both take them.

    Args:
        source: folder or Hub repository.
        options: of the pipeline's call, such as {"num_inference_steps": 4}; "dtype" goes to `from_pretrained`.
        device: auto, cpu, cuda, cuda:N or mps. batch_size: targets of one call; edits go one by one.
    Raises:
        ValueError: no such pipeline, or an option that its call does not take.
    """

    def __init__(self, source: str, options: dict[str, Any] | None = None, device: str = "auto", batch_size: int = 1):
        from ...generation.checks import check_source
        from ...generation.sources import DTYPES

        options = dict(options or {})
        refuse_keys("generator", source)
        refuse_keys("generator_options", options)
        check_source("--generator diffusers:", source)
        self.source, self.device, self.batch_size = source, device, batch_size
        self.dtype = options.pop("dtype", None)
        if self.dtype not in (None, *DTYPES):
            raise ValueError(f"`dtype` must be one of {', '.join(DTYPES)}, got {self.dtype!r}.")
        self.options, self._pipe = options, None
        self._check_call(_pipeline_class(source))
        # a folder by its name: paths of this machine stay out of cards and provenance
        self.model = Path(source).resolve().name if Path(source).is_dir() else source

    def _check_call(self, pipeline: type) -> None:
        call = inspect.signature(pipeline.__call__).parameters
        own = {"self", "prompt", "image", "height", "width", "generator", "output_type", "return_dict"}
        takes_any = any(p.kind is p.VAR_KEYWORD for p in call.values())
        if unknown := sorted(name for name in self.options if name in own or (name not in call and not takes_any)):
            raise ValueError(
                f"`{pipeline.__name__}` takes no option {', '.join(unknown)}; it takes "
                f"{', '.join(name for name in call if name not in own)}."
            )
        if "prompt" not in call:
            raise ValueError(f"`{pipeline.__name__}` draws from no `prompt`. Name another pipeline.")
        self._sized = {"height", "width"} <= set(call)
        image = call.get("image")
        self.can_edit = image is not None
        is_needed = image is not None and image.default is inspect.Parameter.empty
        self._only_edits = is_needed or (self.can_edit and any(word in pipeline.__name__ for word in EDITS))
        self._class = pipeline.__name__

    def settings(self) -> dict[str, Any]:
        return {"kind": "diffusers", **self._told, **self.options}

    @cached_property
    def _told(self) -> dict[str, str]:
        return {"model": named_source(self.source), "dtype": self._resolved()[1]}

    def _resolved(self) -> tuple[str, str]:
        """Device and dtype."""
        from ...generation.sources import resolved_device, resolved_dtype

        device = resolved_device(self.device)
        return device, resolved_dtype(self.dtype or "auto", device, accelerated="bfloat16")

    def check(self, prompts: Sequence[str]) -> None:
        """Raise a ValueError for a device that this machine lacks."""
        from ...generation.settings import GenerationSettings
        from ...generation.sources import check_device

        check_device(GenerationSettings("", device=self.device))

    def draw(self, requests: Sequence[Request]) -> list[Drawn | Undrawn]:
        """As in `Generator`; noise comes from the CPU, so that every device starts from the same."""
        if requests[0].images:
            return [self._called(request.prompt, [request], image=list(request.images))[0] for request in requests]
        if self._only_edits:
            raise ValueError(
                f"`{self._class}` only edits pictures. Name it with `--same-generator`, and one that draws with "
                "`--generator`."
            )
        prompts = [request.prompt for request in requests]
        return self._called(prompts if len(prompts) > 1 else prompts[0], requests)

    def _called(self, prompt: str | list[str], requests: Sequence[Request], **images: Any) -> list[Drawn | Undrawn]:
        import torch

        noise = [torch.Generator("cpu").manual_seed(request.seed) for request in requests]
        width, height = requests[0].size
        size = {"height": height, "width": width} if self._sized else {}
        generator = noise if len(noise) > 1 else noise[0]
        found = self._loaded()(prompt=prompt, generator=generator, **size, **self.options, **images)
        flags = getattr(found, "nsfw_content_detected", None) or [False] * len(requests)
        return [
            Refused("safety_checker", "the pipeline's own safety checker") if flag else Drawn(image)
            for image, flag in zip(found.images, flags)
        ]

    def _loaded(self) -> Any:
        if self._pipe is None:
            from diffusers import DiffusionPipeline

            from ...generation.sources import DTYPES

            device, dtype = self._resolved()
            try:
                pipe = DiffusionPipeline.from_pretrained(self.source, dtype=DTYPES[dtype])
            except Exception as error:  # diffusers, safetensors and the Hub raise a dozen kinds; the cause is kept
                raise ValueError(f"`{self.source}` could not be loaded ({type(error).__name__}: {error}).") from error
            self._pipe = pipe.to(device)
            self._pipe.set_progress_bar_config(disable=True)
        return self._pipe

    def free(self) -> None:
        self._pipe = None
        _let_go()


def _pipeline_class(source: str) -> type:
    """The class that a pipeline's index names; no weights load."""
    import diffusers

    try:
        if Path(source).is_dir():
            name = json.loads((Path(source) / "model_index.json").read_text(encoding="utf-8"))["_class_name"]
        else:
            name = diffusers.DiffusionPipeline.load_config(source)["_class_name"]
    except Exception as error:  # the Hub's client raises a dozen kinds; the cause is kept
        raise ValueError(
            f"`{source}` is no pipeline of diffusers ({type(error).__name__}: {error}). Check the name, and the "
            "network or the cache."
        ) from error
    found = getattr(diffusers, name, None)
    if found is None:
        raise ValueError(f"`{source}` is a {name}, which this diffusers does not have: `pip install -U diffusers`.")
    return found


def _let_go() -> None:
    """Memory of models that nobody holds any more, also the accelerator's."""
    import torch

    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
