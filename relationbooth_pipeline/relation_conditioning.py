"""From image prompts, phrases and places to what the UNet's attention reads: encode, place, project; once per call."""

import inspect
from collections.abc import Callable, Sequence
from dataclasses import fields
from functools import partial
from typing import Any

import torch
from diffusers import DiffusionPipeline
from diffusers.utils import logging

from .relation_attention import layer_scales, prepare_parallel_attention
from .relation_image_encoder import RelationEncodingMixin
from .relation_inputs import (
    EncodedImagePrompts,
    ImagePromptInputs,
    images_per_sample,
    pad_scales,
    phrases_per_sample,
    scales_per_sample,
)
from .relation_layouts import AutomaticLayout, acting_calls, default_boxes, prompt_spans, warn_of_missing_phrases
from .relation_regions import bounding_boxes, boxes_per_sample, masks_per_sample, pad_boxes
from .relation_rows import GUIDED, OTHER_UNET, Conditioning, Drawing, ImagePromptKwargs, check_roles, is_known, roles_of

logger = logging.get_logger(__name__)
MasksOf = Callable[[int, int], dict[int, torch.Tensor]]


class RelationConditioningMixin(RelationEncodingMixin):
    """Steps of an SDXL pipeline between its arguments and its denoising loop: `encode_image_prompts`, `layout`,
    `prepare_regions`; `image_prompt_kwargs`, which goes through all of them; and `draw_through`, which gives the result
    to another pipeline.

    Expects of `RelationBoothPipeline`: adapter, UNet, `check_adapter`, `heaviest_relation`, `_refuse_unknown`.
    """

    def draw_through(
        self, other: DiffusionPipeline, *args: Any, roles: Sequence[str] | None = None, **kwargs: Any
    ) -> Any:
        """Draw with image prompts through another SDXL pipeline that shares this one's UNet: image-to-image,
        inpainting, ControlNet, T2I-Adapter, PAG, InstructPix2Pix.

        Args:
            other: built around the same UNet, e.g. `StableDiffusionXLImg2ImgPipeline(**pipe.sdxl_components)`.
            args, kwargs: `other`'s own arguments, and those of `__call__` here that are about image prompts. Size,
                batch, pictures per prompt and guidance are found out from them and from `other` while it runs.
            roles: parts of its UNet batches, of `ROLES`, in order; only for a pipeline of a kind that is not known.
        Returns:
            What `other` returns.
        Raises:
            ValueError: `other` has another UNet, its kind is unknown, or an argument is wrong; before any heavy work.
        """
        self.check_adapter()
        if _inner(getattr(other, "unet", None)) is not _inner(self.unet):
            raise ValueError(OTHER_UNET)
        if roles is not None:
            check_roles(roles)
        elif not is_known(other):
            raise ValueError(
                f"which rows of {type(other).__name__}'s batches read image prompts is not known. Say it with `roles`, "
                f"e.g. `roles={GUIDED}` for the usual two halves of guidance."
            )
        own = {field.name: kwargs.pop(field.name) for field in fields(ImagePromptInputs) if field.name in kwargs}
        if own.get("image_prompts") is None:
            raise ValueError("`draw_through` needs `image_prompts`. Without them call the other pipeline itself.")
        given = inspect.signature(type(other).__call__).bind(other, *args, **kwargs)
        given.apply_defaults()
        arguments = dict(given.arguments)
        if "cross_attention_kwargs" not in arguments:
            raise ValueError(f"{type(other).__name__} takes no `cross_attention_kwargs`, so no image prompts either.")
        drawing = Drawing.of_call(
            arguments,
            roles=roles_of(other, arguments) if roles is None else partial(check_roles, roles),
            calls=(lambda: other.num_timesteps) if hasattr(type(other), "num_timesteps") else None,
        )
        inputs = ImagePromptInputs(**own)
        if is_known(other):  # another may read names that its signature does not tell
            self._refuse_unknown(arguments.get("kwargs", {}), {**arguments, **vars(inputs)})
        if drawing.calls is None:
            inputs.check_uncounted(type(other).__name__)
        with self.scaled_loras((arguments["cross_attention_kwargs"] or {}).get("scale")):
            prepared = self._condition(inputs, drawing)
        kwargs["cross_attention_kwargs"] = {**(arguments["cross_attention_kwargs"] or {}), **prepared}
        try:
            return other(*args, **kwargs)
        finally:
            if hasattr(other, "_cross_attention_kwargs"):
                other._cross_attention_kwargs = None  # megabytes of K and V would stay with it otherwise

    @torch.no_grad()
    def image_prompt_kwargs(
        self,
        image_prompts: Any,
        phrases: Any = None,
        *,
        latent_height: int,
        latent_width: int,
        roles: Sequence[str] = GUIDED,
        prompt: str | list[str] | None = None,
        batch_size: int = 1,
        num_images_per_prompt: int = 1,
        **inputs: Any,
    ) -> ImagePromptKwargs:
        """`cross_attention_kwargs` that make this pipeline's UNet read image prompts, for those who call it themselves;
        `draw_through` is the way to other pipelines. They hold for one generation.

        Args:
            latent_height, latent_width: picture's height and width divided by `vae_scale_factor`.
            roles: of the equal parts of the UNet's batch, in order, each of `ROLES`; ("conditional",) without guidance.
            batch_size: number of prompts.
            image_prompts, phrases, inputs: as in `__call__`, but for `image_prompt_start` and `image_prompt_end`, which
                need a pipeline that counts the steps.
        Raises:
            ValueError: an argument is wrong; and later, from the UNet, when its batch or size is another one.
        """
        inputs = ImagePromptInputs(image_prompts, phrases, **inputs)
        if (inputs.image_prompt_start, inputs.image_prompt_end) != (0, 1):
            raise ValueError("`image_prompt_start` and `image_prompt_end` need a pipeline: use `draw_through`.")
        roles = check_roles(roles)
        size = (latent_height, latent_width)
        prepared = self._condition(inputs, Drawing(prompt, batch_size, num_images_per_prompt, lambda: roles, size))
        prepared["ip_hidden_states"].is_told = True
        return prepared

    def prepare_regions(
        self, counts: list[int], boxes: Any = None, masks: Any = None, zero_boxes: bool = False
    ) -> tuple[torch.Tensor, MasksOf]:
        """Boxes for the resampler and masks for attention.

        Args:
            counts: image prompts of each sample.
            zero_boxes: without boxes and masks use all-zero boxes, which cover nothing.
        Returns:
            (boxes (B, N, 4), function of a latent size (h, w) that gives {P: bool (B, 1, P, S)}).
        """
        pixel_masks = None
        if masks is not None:
            if boxes is not None:
                raise ValueError("give `boxes` or `masks`, not both: boxes are taken from the masks.")
            pixel_masks = masks_per_sample(masks, counts)
            samples = [[bounding_boxes(mask).tolist() for mask in sample] for sample in pixel_masks]
        elif boxes is not None:
            samples = boxes_per_sample(boxes, counts)
        elif zero_boxes:
            samples = [[[0.0] * 4] * count for count in counts]
        else:
            samples = [self.layout(count) for count in counts]
        boxes = pad_boxes(samples)
        present = torch.arange(boxes.shape[1]) < torch.tensor(counts)[:, None]
        levels = len(self.unet.config.block_out_channels)

        def masks_of(height: int, width: int) -> dict[int, torch.Tensor]:
            return self.relation_adapter.attention_masks(boxes, present, height, width, levels, pixel_masks)

        return boxes, masks_of

    def layout(self, count: int) -> list[list[float]]:
        """Boxes for `count` objects when none are given: the heaviest RelationLoRA's prior, else side by side."""
        return default_boxes(self.heaviest_relation(), count)

    def _condition(self, inputs: ImagePromptInputs, drawing: Drawing) -> ImagePromptKwargs:
        self.check_adapter()
        prepare_parallel_attention(self.unet, self._execution_device)
        inputs.check_numbers(drawing.prompt)
        if isinstance(inputs.image_prompts, EncodedImagePrompts):
            encoded, samples = inputs.image_prompts, None
            encoded.check_for(drawing.batch_size, inputs.phrases)
            counts, phrases = encoded.counts, encoded.phrases
        else:
            samples = images_per_sample(inputs.image_prompts, drawing.batch_size)
            counts = [len(sample) for sample in samples]
            phrases = phrases_per_sample(inputs.phrases, counts)
        if None not in (drawing.prompt, phrases):
            warn_of_missing_phrases(phrases, [drawing.prompt] if isinstance(drawing.prompt, str) else drawing.prompt)
        is_unplaced = inputs.automatic_layout and inputs.boxes is None and inputs.masks is None
        boxes, masks_of = self.prepare_regions(counts, inputs.boxes, inputs.masks, zero_boxes=is_unplaced)
        scales = pad_scales(scales_per_sample(inputs.image_prompt_scale, counts, self._image_prompt_scale))
        factors = None if inputs.block_scales is None else layer_scales(self.unet, inputs.block_scales)
        spans = prompt_spans(self, phrases, drawing.prompt) if inputs.automatic_layout else None
        if samples is not None:
            encoded = self._encode_samples(samples, phrases)
        layers = self._project(encoded, boxes, scales, factors, inputs.drop_grounding)
        return self._assembled(inputs, drawing, layers, masks_of, spans, is_unplaced)

    def _project(self, encoded: EncodedImagePrompts, boxes, scales, factors, drop_grounding: bool):
        """Image K and γ·V of every layer, {D: (2, layers, B, S, D)}."""
        adapter, device = self.relation_adapter, self._execution_device

        def placed(tensor, dtype=adapter.dtype):
            return None if tensor is None else tensor.to(device, dtype)

        return adapter(
            placed(encoded.image_tokens),
            placed(encoded.phrase_embeds),
            placed(boxes, torch.float32),
            placed(scales),
            local_tokens=placed(encoded.local_tokens),
            drop_grounding=torch.full((len(boxes),), True, device=device) if drop_grounding else None,
            layer_scales=factors,
        )

    def _assembled(
        self, inputs: ImagePromptInputs, drawing: Drawing, layers, masks_of: MasksOf, spans, is_unplaced: bool
    ) -> ImagePromptKwargs:
        device, count = self._execution_device, drawing.images_per_prompt

        def repeated(tensor, dim):
            tensor = tensor.to(device)
            return tensor if count == 1 else tensor.repeat_interleave(count, dim=dim)  # which copies in any case

        def masks_of_pictures(height: int, width: int) -> dict[int, torch.Tensor]:
            return {positions: repeated(mask, dim=0) for positions, mask in masks_of(height, width).items()}

        def automatic_layout(masks, calls: int | None) -> AutomaticLayout:
            start = inputs.layout_start_step
            if calls is not None:
                steps = len(acting_calls(inputs.image_prompt_start, inputs.image_prompt_end, calls))
                if start > (max(1, steps // 2) if is_unplaced else steps):
                    start = max(1, steps // 2)
                    logger.warning(
                        f"automatic layout starts at step {start} of the {steps} in which image prompts act, not at "
                        f"{inputs.layout_start_step}: it would act too late or never."
                    )
            return self.relation_adapter.automatic_layout(repeated(spans, dim=0), masks, inputs.mask_threshold, start)

        conditioning = Conditioning(
            unet=_inner(self.unet),
            layers={width: repeated(stacked, dim=2) for width, stacked in layers.items()},
            masks_of=masks_of_pictures,
            roles=drawing.roles,
            latent_size=drawing.latent_size,
            automatic_layout=None if spans is None else automatic_layout,
            calls=drawing.calls,
            first=inputs.image_prompt_start,
            last=inputs.image_prompt_end,
        )
        if drawing.latent_size is not None and spans is None:
            conditioning.place(*drawing.latent_size)
        return ImagePromptKwargs(ip_hidden_states=conditioning)


def _inner(unet):
    return getattr(unet, "_orig_mod", unet)  # of a compiled one
