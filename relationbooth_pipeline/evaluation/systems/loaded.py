"""One pipeline for several systems: loaded once, its LoRAs switched between cases."""

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from PIL import Image

from ...generation.settings import GenerationSettings
from ...generation.sources import deciding_record, load_pipeline, resolve_sources
from ...pipeline import RelationBoothPipeline

# What decides a picture beside prompt, photos and noise; where it runs does not.
DECIDES = (
    "model", "adapter", "adapter_weight_name", "image_encoder", "local_image_encoder", "negative_prompt", "height",
    "width", "steps", "guidance_scale", "guidance_rescale", "dtype",
)  # fmt: skip


class LoadedPipeline:
    """What `relationbooth generate` would load, shared by systems that differ in what they pass to a call.

    Args:
        settings: checked; prompt, images and seed come with each case.
        cases_a_call: of the systems that draw with it.
    """

    def __init__(self, settings: GenerationSettings, cases_a_call: int = 1):
        self.settings, self.cases_a_call = settings, cases_a_call
        self.resolved = resolve_sources(settings)
        self._pipe, self._loras = None, {}

    def described(self) -> dict:
        """What decides a picture, JSON-ready; models by name and content."""
        return dict(self._described)

    @cached_property
    def _described(self) -> dict:
        values = asdict(self.settings) | deciding_record(self.resolved)
        return {name: values[name] for name in DECIDES if values[name] is not None}

    @property
    def folder(self) -> Path | None:
        """The model's folder, where it may bring RelationLoRAs; None for a repository or file."""
        folder = Path(self.resolved.model)
        return folder if folder.is_dir() else None

    @property
    def pipe(self) -> RelationBoothPipeline:
        """The pipeline, loaded when it is first asked for."""
        if self._pipe is None:
            self._pipe = load_pipeline(self.resolved, needs_adapter=False)
        return self._pipe

    def free(self) -> None:
        """Let the models go; the next use loads them again."""
        self._pipe, self._loras = None, {}

    def activate(self, loras: Iterable[tuple[str, float]]) -> None:
        """Have exactly these LoRA files act, each with its weight."""
        names, weights = [], []
        for file, weight in loras:
            if file not in self._loras:
                name = f"lora_{hashlib.sha256(file.encode()).hexdigest()[:12]}"
                self.pipe.load_lora_weights(file, adapter_name=name)
                self._loras[file] = name
            names.append(self._loras[file])
            weights.append(weight)
        if names:
            self.pipe.enable_lora()
            self.pipe.set_adapters(names, weights)
        elif self._loras:
            self.pipe.disable_lora()

    def call(self, prompts: Sequence[str], seeds: Sequence[Sequence[int]], **arguments: Any) -> list[list[Image.Image]]:
        """For each prompt one picture for each of its seeds, in one batch; noise comes from the CPU on every device.

        Args:
            seeds: as many for every prompt.
            arguments: of the pipeline, with an entry for each prompt where it has such.
        """
        settings, count = self.settings, len(seeds[0])
        pictures = self.pipe(
            list(prompts),
            num_images_per_prompt=count,
            negative_prompt=settings.negative_prompt,
            height=settings.height,
            width=settings.width,
            num_inference_steps=settings.steps,
            guidance_scale=settings.guidance_scale,
            guidance_rescale=settings.guidance_rescale,
            generator=[torch.Generator("cpu").manual_seed(seed) for of_prompt in seeds for seed in of_prompt],
            **arguments,
        ).images
        return [pictures[start : start + count] for start in range(0, len(pictures), count)]
