"""This project's pipeline as a generator: the base draws a relation, and the adapter draws its objects again, alone.

The paper's case: a base that can draw the relation, and an adapter that overlooks it. Targets come from the base alone,
without image prompts, so nothing of the adapter is in them; "the same" object is drawn by the adapter from its crop,
doing something that the adapter knows.
"""

from collections.abc import Sequence
from functools import cached_property
from typing import Any

from ..keys import refuse_keys
from .diffusers_pipeline import _let_go
from .generator import Drawn, Generator, Request, Undrawn

# What decides a picture; where it runs does not.
OPTIONS = (
    "adapter", "adapter_weight_name", "image_encoder", "local_image_encoder", "negative_prompt", "steps",
    "guidance_scale", "guidance_rescale", "image_prompt_scale", "dtype",
)  # fmt: skip
MINIATURE_SIDE = 128  # pixels
END = "</w>"  # of words in CLIP's vocabulary
BOX = [0.1, 0.1, 0.9, 0.9]  # of an object alone: whole, with a margin


class OwnPipeline(Generator):
    """What `relationbooth generate` would load.

    Args:
        model: "miniature", an SDXL folder, repository or .safetensors file.
        options: of `OPTIONS`, as in `relationbooth generate`. device, offload: likewise. batch_size: of one call.
    Raises:
        ValueError: anything wrong that can be seen before models load.
    """

    can_edit = True
    same_templates = ("a {0} is standing", "a {0} is waving")  # words that the miniature knows, too

    def __init__(
        self,
        model: str = "miniature",
        options: dict[str, Any] | None = None,
        device: str = "auto",
        batch_size: int = 1,
        offload: str = "none",
    ):
        from ...generation.settings import GenerationSettings
        from ...generation.sources import is_miniature, resolve_sources

        options = options or {}
        refuse_keys("generator_options", options)
        if unknown := sorted({*options} - {*OPTIONS}):
            raise ValueError(f"options of this pipeline are {', '.join(OPTIONS)}, got {', '.join(unknown)}.")
        self._settings = GenerationSettings("a picture", model=model, device=device, offload=offload, **options)
        self._settings.checked()
        self._resolved, self._pipe, self.batch_size = resolve_sources(self._settings), None, batch_size
        self.model = self._settings.as_record()["model"]
        if is_miniature(self._resolved):
            self.default_size = (MINIATURE_SIDE, MINIATURE_SIDE)

    def settings(self) -> dict[str, Any]:
        return dict(self._told)

    @cached_property
    def _told(self) -> dict[str, Any]:
        from ...generation.sources import deciding_record

        record = self._settings.as_record() | deciding_record(self._resolved)
        return {"kind": "relationbooth"} | {n: record[n] for n in ("model", *OPTIONS) if record[n] is not None}

    def check(self, prompts: Sequence[str]) -> None:
        """Raise a ValueError when the miniature does not know a word: it would draw something else."""
        from transformers import AutoTokenizer

        from ...generation.sources import is_miniature, unknown_words

        if is_miniature(self._resolved):
            tokenizer = AutoTokenizer.from_pretrained(self._resolved.model, subfolder="tokenizer")
            if words := unknown_words(tokenizer, prompts):
                known = sorted(word.removesuffix(END) for word in tokenizer.get_vocab() if word.endswith(END))
                raise ValueError(
                    f"the miniature does not know the words {', '.join(words)}. It knows "
                    f"{', '.join(word for word in known if len(word) > 2)}; or name an SDXL model."
                )

    def draw(self, requests: Sequence[Request]) -> list[Drawn | Undrawn]:
        import torch

        settings, pipe = self._settings, self._loaded(bool(requests[0].images))
        objects = {}
        if requests[0].images:
            objects = {
                "image_prompts": [list(request.images) for request in requests],
                "phrases": [list(request.phrases) for request in requests],
                "image_prompt_scale": settings.image_prompt_scale,
            }
            if len(requests[0].images) == 1:
                objects["boxes"] = [[BOX]] * len(requests)
        width, height = requests[0].size
        pictures = pipe(
            [request.prompt for request in requests],
            negative_prompt=None if settings.negative_prompt is None else [settings.negative_prompt] * len(requests),
            height=height,
            width=width,
            num_inference_steps=settings.steps,
            guidance_scale=settings.guidance_scale,
            guidance_rescale=settings.guidance_rescale,
            generator=[torch.Generator("cpu").manual_seed(request.seed) for request in requests],
            **objects,
        ).images
        return [Drawn(picture) for picture in pictures]

    def _loaded(self, needs_adapter: bool) -> Any:
        from ...generation.sources import check_adapter, load_pipeline

        if self._pipe is None:
            self._pipe = load_pipeline(self._resolved, needs_adapter)
        check_adapter(self._pipe, self._settings, needs_adapter)
        return self._pipe

    def free(self) -> None:
        self._pipe = None
        _let_go()
