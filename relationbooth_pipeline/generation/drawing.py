"""One picture from checked settings: load, denoise, save, draw the sheet."""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import torch
from PIL import Image

from ..pipeline import RelationBoothPipeline
from ..sheets.contact import contact_sheet
from ..sheets.png_settings import save_png
from .settings import GenerationSettings
from .sources import is_miniature, load_pipeline, resolve_sources, unknown_words


@dataclass
class Generation:
    """A loaded pipeline and everything that one call of it needs.

    Attributes:
        images: image prompts, upright RGB.
        boxes: as used: given, a RelationLoRA's layout prior, or side by side.
        is_illustration: the miniature meets image prompts of the user.
        warnings: one sentence each, for the user.
    """

    settings: GenerationSettings
    pipe: RelationBoothPipeline
    images: list[Image.Image]
    boxes: list[list[float]] = field(default_factory=list)
    is_illustration: bool = False
    warnings: list[str] = field(default_factory=list)

    def run(self, on_step: Callable[[int, int], None] | None = None) -> Image.Image:
        """Denoise; `on_step` is told (steps done, steps of this run)."""
        settings, pipe = self.settings, self.pipe

        def after_step(_, step, timestep, tensors):
            if on_step is not None:
                on_step(step + 1, pipe.num_timesteps)
            return tensors

        image_prompts = {}
        if self.images:
            image_prompts = {
                "image_prompts": self.images,
                "phrases": settings.phrase,
                "boxes": self.boxes,
                "image_prompt_scale": settings.image_prompt_scale,
            }
        return pipe(
            settings.prompt,
            negative_prompt=settings.negative_prompt,
            height=settings.height,
            width=settings.width,
            num_inference_steps=settings.steps,
            guidance_scale=settings.guidance_scale,
            guidance_rescale=settings.guidance_rescale,
            generator=torch.Generator("cpu").manual_seed(settings.seed),  # the same noise on every device
            callback_on_step_end=after_step,
            **image_prompts,
        ).images[0]


def prepare(settings: GenerationSettings, images: list[Image.Image]) -> Generation:
    """Resolve what the settings name and load it; `images` as `GenerationSettings.checked` opened them."""
    resolved = resolve_sources(settings)
    small = is_miniature(resolved)
    pipe = load_pipeline(resolved, needs_adapter=bool(images))
    generation = Generation(settings, pipe, images, is_illustration=small and bool(images))
    if images:
        generation.boxes = settings.box or pipe.layout(len(images))
        settings.box = generation.boxes
    if small:
        unknown = unknown_words(pipe.tokenizer, [settings.prompt, settings.negative_prompt or "", *settings.phrase])
        if unknown:
            generation.warnings.append(
                f"the miniature never saw these words and cannot draw them: {', '.join(unknown)}."
            )
    return generation


def save(generation: Generation, picture: Image.Image, path: Path) -> None:
    """Write the picture with its settings, the size in pixels and the versions included."""
    from .. import __version__

    settings = generation.settings.as_dict()
    settings |= {"width": picture.width, "height": picture.height, "relationbooth_version": __version__}
    save_png(picture, path, settings)


def draw_sheet(generation: Generation, picture: Image.Image, path: Path, note: str | None) -> None:
    """Write references | boxes | result, with the same settings in it."""
    settings = generation.settings
    sheet = contact_sheet(
        generation.images, settings.phrase, generation.boxes, {"result": picture}, settings.prompt, note
    )
    save_png(sheet, path, settings.as_dict())
