"""Pictures from checked settings: load, denoise, save, draw the sheet."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from PIL import Image

from .. import __version__
from ..pipeline import RelationBoothPipeline
from ..relation_inputs import EncodedImagePrompts
from ..relation_layouts import missing_phrases
from ..sheets.contact import contact_sheet
from ..sheets.png_settings import save_png
from .masks import box_mask, open_mask
from .settings import GenerationSettings, sha256
from .sources import check_adapter, is_miniature, load_loras, load_pipeline, lora_file, resolve_sources, unknown_words

PICTURE_KIND = "generated picture"
MINIATURE_OBJECTS = 2  # characters in a scene of its training world, at most
SHEET_PICTURES = 8  # of several pictures, so many stand on the sheet


@dataclass
class Generation:
    """A loaded pipeline and everything that one call of it needs.

    Attributes:
        images: image prompts, upright RGB.
        record: what the pictures keep of the settings.
        boxes: as used: given, a RelationLoRA's layout prior, or side by side; empty for automatic layout.
        masks: painted places, white on black, one per object (its box where none is painted); None: the boxes act.
        is_illustration: the miniature meets image prompts of the user.
        warnings: one sentence each, for the user.
    """

    settings: GenerationSettings
    pipe: RelationBoothPipeline
    images: list[Image.Image]
    record: dict[str, Any]
    boxes: list[list[float]] = field(default_factory=list)
    masks: list[Image.Image] | None = None
    is_illustration: bool = False
    warnings: list[str] = field(default_factory=list)
    _encoded: EncodedImagePrompts | None = None

    def run(
        self,
        on_step: Callable[[int, int], None] | None = None,
        index: int = 0,
        on_latents: Callable[[torch.Tensor], None] | None = None,
    ) -> Image.Image:
        """Denoise one picture, from the seed `settings.seed + index`.

        An exception of a callback ends the run at once, without decoding; the pipeline stays usable.

        Args:
            on_step: told (steps done, steps of this picture).
            index: which of the settings' `count` pictures, from 0.
            on_latents: told the latents, (1, C, h, w), before `on_step` is told of the same step.
        """
        settings, pipe = self.settings, self.pipe

        def after_step(_, step, timestep, tensors):
            if on_latents is not None:
                on_latents(tensors["latents"])
            if on_step is not None:
                on_step(step + 1, pipe.num_timesteps)
            return tensors

        image_prompts = {}
        if self.images:
            if self._encoded is None:  # the same for every picture, and as dear as a dozen steps
                self._encoded = pipe.encode_image_prompts(self.images, settings.phrase)
                if not settings.local_tokens:
                    self._encoded = replace(self._encoded, local_tokens=None)
            image_prompts = {
                "image_prompts": self._encoded,
                "automatic_layout": settings.automatic_layout,
                "image_prompt_scale": settings.image_prompt_scale,
            }
            if not settings.automatic_layout:
                image_prompts |= {"boxes": self.boxes} if self.masks is None else {"masks": self.masks}
        return pipe(
            settings.prompt,
            negative_prompt=settings.negative_prompt,
            height=settings.height,
            width=settings.width,
            num_inference_steps=settings.steps,
            guidance_scale=settings.guidance_scale,
            guidance_rescale=settings.guidance_rescale,
            generator=torch.Generator("cpu").manual_seed(settings.seed + index),  # the same noise on every device
            callback_on_step_end=after_step,
            **image_prompts,
        ).images[0]


def prepare(
    settings: GenerationSettings, images: list[Image.Image], pipe: RelationBoothPipeline | None = None
) -> Generation:
    """Resolve what the settings name and load it; `images` as `GenerationSettings.checked` opened them.

    Args:
        pipe: the settings' model and adapter as an earlier call loaded them; only LoRAs that differ are loaded then.
    Raises:
        ValueError: something cannot be found, does not fit or could not be loaded.
    """
    resolved = resolve_sources(settings)
    record = asked_record(settings, resolved)
    small = is_miniature(resolved)
    if pipe is None:
        pipe = load_pipeline(resolved, needs_adapter=bool(images))
    else:
        check_adapter(pipe, resolved, needs_adapter=bool(images))
        load_loras(pipe, resolved.lora)
    generation = Generation(settings, pipe, images, record, is_illustration=small and bool(images))
    if images and not settings.automatic_layout:
        generation.boxes = settings.box or pipe.layout(len(images))
        record["box"] = generation.boxes
        if any(settings.mask or []):
            side = pipe.default_sample_size * pipe.vae_scale_factor  # as the pipeline chooses where nothing is said
            size = (settings.width or side, settings.height or side)
            masks = zip(settings.mask, generation.boxes)
            generation.masks = [open_mask(mask) if mask else box_mask(box, size) for mask, box in masks]
    if missing := missing_phrases(settings.phrase, settings.prompt):
        named = ", ".join(repr(phrase) for phrase in missing)
        generation.warnings.append(f"the prompt does not hold {named}: a `--phrase` is the prompt's own word.")
    if small:
        generation.warnings += _beyond_miniature(generation)
    return generation


def asked_record(settings: GenerationSettings, resolved: GenerationSettings) -> dict[str, Any]:
    """What pictures keep of settings that `resolve_sources` resolved, before a model says boxes and size."""
    return settings.as_record() | {"lora_sha256": [sha256(lora_file(source)) for source, _ in resolved.lora]}


def _beyond_miniature(generation: Generation) -> list[str]:
    """What was asked for and lies outside the miniature's training, one sentence each."""
    settings, pipe, found = generation.settings, generation.pipe, []
    side = pipe.default_sample_size * pipe.vae_scale_factor
    width, height = settings.width or side, settings.height or side
    if (width, height) != (side, side):
        found.append(f"the miniature knows {side} × {side} pixels only: {width} × {height} lies outside its training.")
    if len(generation.images) > MINIATURE_OBJECTS:
        found.append(f"the miniature knows one or two objects only: {len(generation.images)} lie outside its training.")
    unknown = unknown_words(pipe.tokenizer, [settings.prompt, settings.negative_prompt or "", *settings.phrase])
    if unknown:
        found.append(f"the miniature never saw these words and cannot draw them: {', '.join(unknown)}.")
    return found


def save(generation: Generation, picture: Image.Image, path: Path, index: int = 0) -> None:
    """Write picture `index` with its settings, the size in pixels and the version included."""
    save_png(picture, path, picture_record(generation, picture, index))


def picture_record(generation: Generation, picture: Image.Image, index: int = 0) -> dict[str, Any]:
    """What `save` keeps in picture `index`, JSON-ready."""
    own = {"kind": PICTURE_KIND, "seed": generation.settings.seed + index}
    return _record(generation, picture) | own


def draw_sheet(generation: Generation, pictures: Sequence[Image.Image], path: Path, note: str | None) -> None:
    """Write references | boxes | results, with the settings of the first picture in it.

    Args:
        pictures: of this generation, in order from index 0; the first `SHEET_PICTURES` are shown.
        note: printed below, see `contact_sheet`.
    """
    settings, shown = generation.settings, pictures[:SHEET_PICTURES]
    labels = ["result"] if len(shown) == 1 else [f"seed {settings.seed + i}" for i in range(len(shown))]
    results = dict(zip(labels, shown))
    sheet = contact_sheet(generation.images, settings.phrase, generation.boxes, results, settings.prompt, note)
    save_png(sheet, path, _record(generation, shown[0]) | {"kind": "sheet", "pictures": len(shown)})


def _record(generation: Generation, picture: Image.Image) -> dict[str, Any]:
    size = {"width": picture.width, "height": picture.height}
    return generation.record | size | {"relationbooth_version": __version__}
