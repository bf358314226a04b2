"""RelationBoothPipeline: SDXL with own characters that do something together.

`pipeline.py` names every module of the package that it or its mixins reach: the folder door copies only those.
"""

import inspect
from collections.abc import Callable, Iterable, Sequence
from dataclasses import fields
from difflib import get_close_matches
from os import PathLike
from typing import Any

import torch
from diffusers import AutoencoderKL, StableDiffusionXLPipeline, UNet2DConditionModel
from diffusers.callbacks import MultiPipelineCallbacks, PipelineCallback
from diffusers.image_processor import PipelineImageInput
from diffusers.pipelines.stable_diffusion_xl import StableDiffusionXLPipelineOutput
from diffusers.schedulers import KarrasDiffusionSchedulers
from PIL import Image
from transformers import (
    CLIPImageProcessor,
    CLIPTextModel,
    CLIPTextModelWithProjection,
    CLIPTokenizer,
    CLIPVisionModelWithProjection,
)

from .relation_adapter import RelationAdapter
from .relation_attention import install_parallel_attention
from .relation_conditioning import RelationConditioningMixin
from .relation_image_encoder import LocalImageEncoder
from .relation_inputs import EncodedImagePrompts, ImagePromptInputs
from .relation_loaders import DEFAULT_SCALE, RelationAdapterLoaderMixin
from .relation_lora import RelationLoraMixin
from .relation_rows import Drawing, roles_of

# isort: split
# Named for the folder door alone, which does not look into siblings.
from .relation_conversion import adapter_from_released  # noqa: F401
from .relation_files import find_file  # noqa: F401
from .relation_images import open_image  # noqa: F401
from .relation_layouts import side_by_side  # noqa: F401
from .relation_regions import region_masks  # noqa: F401
from .relation_resampler import LocalTokenResampler  # noqa: F401

ImagePrompts = list[str | PathLike | Image.Image]
_SDXL_ARGUMENTS = inspect.signature(StableDiffusionXLPipeline.__call__).parameters.keys() - {"self", "kwargs"}


class RelationBoothPipeline(
    RelationConditioningMixin, RelationAdapterLoaderMixin, RelationLoraMixin, StableDiffusionXLPipeline
):
    """`StableDiffusionXLPipeline` that also reads image prompts, one per object, each in its own region.

    Without image prompts it is `StableDiffusionXLPipeline`, bit for bit.

    Args (beside SDXL's):
        relation_adapter: see `load_relation_adapter`, which also brings the two encoders.
        image_prompt_encoder: CLIP vision model of the adapter. It is a slot of its own, so that diffusers' IP-Adapter
            keeps `image_encoder` to itself (its unloading empties that slot).
        local_image_encoder: dense CLIP for local tokens, or None.
    """

    model_cpu_offload_seq = (
        "image_encoder->image_prompt_encoder->local_image_encoder->relation_adapter->"
        "text_encoder->text_encoder_2->unet->vae"
    )
    _optional_components = [
        *StableDiffusionXLPipeline._optional_components,
        "relation_adapter",
        "image_prompt_encoder",
        "local_image_encoder",
    ]

    def __init__(
        self,
        vae: AutoencoderKL,
        text_encoder: CLIPTextModel,
        text_encoder_2: CLIPTextModelWithProjection,
        tokenizer: CLIPTokenizer,
        tokenizer_2: CLIPTokenizer,
        unet: UNet2DConditionModel,
        scheduler: KarrasDiffusionSchedulers,
        image_encoder: CLIPVisionModelWithProjection = None,
        feature_extractor: CLIPImageProcessor = None,
        relation_adapter: RelationAdapter = None,
        image_prompt_encoder: CLIPVisionModelWithProjection = None,
        local_image_encoder: LocalImageEncoder = None,
        force_zeros_for_empty_prompt: bool = True,
        add_watermarker: bool | None = None,
    ):
        super().__init__(
            vae=vae,
            text_encoder=text_encoder,
            text_encoder_2=text_encoder_2,
            tokenizer=tokenizer,
            tokenizer_2=tokenizer_2,
            unet=unet,
            scheduler=scheduler,
            image_encoder=image_encoder,
            feature_extractor=feature_extractor,
            force_zeros_for_empty_prompt=force_zeros_for_empty_prompt,
            add_watermarker=add_watermarker,
        )
        self.register_modules(
            relation_adapter=relation_adapter,
            image_prompt_encoder=image_prompt_encoder,
            local_image_encoder=local_image_encoder,
        )
        if unet is not None and unet.config.addition_embed_type != "text_time":
            raise ValueError(
                f"the UNet must be an SDXL one (`addition_embed_type` 'text_time'), got "
                f"{unet.config.addition_embed_type!r}. "
                "Stable Diffusion 1.x and 2.x checkpoints do not fit."
            )
        self._image_prompt_scale = DEFAULT_SCALE
        if relation_adapter is not None:
            relation_adapter.check_fits(unet)
            install_parallel_attention(unet)

    @torch.no_grad()
    def __call__(
        self,
        prompt: str | list[str] | None = None,
        prompt_2: str | list[str] | None = None,
        height: int | None = None,
        width: int | None = None,
        num_inference_steps: int = 50,
        timesteps: list[int] | None = None,
        sigmas: list[float] | None = None,
        denoising_end: float | None = None,
        guidance_scale: float = 5.0,
        negative_prompt: str | list[str] | None = None,
        negative_prompt_2: str | list[str] | None = None,
        num_images_per_prompt: int | None = 1,
        eta: float = 0.0,
        generator: torch.Generator | list[torch.Generator] | None = None,
        latents: torch.Tensor | None = None,
        prompt_embeds: torch.Tensor | None = None,
        negative_prompt_embeds: torch.Tensor | None = None,
        pooled_prompt_embeds: torch.Tensor | None = None,
        negative_pooled_prompt_embeds: torch.Tensor | None = None,
        ip_adapter_image: PipelineImageInput | None = None,
        ip_adapter_image_embeds: list[torch.Tensor] | None = None,
        output_type: str | None = "pil",
        return_dict: bool = True,
        cross_attention_kwargs: dict[str, Any] | None = None,
        guidance_rescale: float = 0.0,
        original_size: tuple[int, int] | None = None,
        crops_coords_top_left: tuple[int, int] = (0, 0),
        target_size: tuple[int, int] | None = None,
        negative_original_size: tuple[int, int] | None = None,
        negative_crops_coords_top_left: tuple[int, int] = (0, 0),
        negative_target_size: tuple[int, int] | None = None,
        clip_skip: int | None = None,
        callback_on_step_end: Callable | PipelineCallback | MultiPipelineCallbacks | None = None,
        callback_on_step_end_tensor_inputs: Sequence[str] = ("latents",),
        *,
        image_prompts: ImagePrompts | list[ImagePrompts] | EncodedImagePrompts | None = None,
        phrases: str | list[str] | list[list[str]] | None = None,
        boxes: Sequence | torch.Tensor | None = None,
        masks: Sequence | None = None,
        image_prompt_scale: float | Sequence | torch.Tensor | None = None,
        block_scales: float | dict | None = None,
        image_prompt_start: float = 0.0,
        image_prompt_end: float = 1.0,
        automatic_layout: bool = False,
        mask_threshold: float = 0.5,
        layout_start_step: int = 5,
        drop_grounding: bool = False,
        **kwargs: Any,
    ) -> StableDiffusionXLPipelineOutput | tuple:
        """Generate. All arguments of `StableDiffusionXLPipeline.__call__`, and:

        Args:
            image_prompts: N images of objects (paths or PIL), a list of such lists for a batch of prompts, or what
                `encode_image_prompts` returned.
            phrases: the noun of each image prompt, in the same nesting.
            boxes: where each object goes, XYXY in [0, 1]. None: the layout prior of the heaviest active RelationLoRA
                when it has one for so many objects, else side by side.
            masks: region of each object as (H, W) arrays or images, instead of boxes.
            image_prompt_scale: γ (RelationBooth, Eq. 4), one number or one per object. None: 0.6, or what
                `set_image_prompt_scale` set.
            block_scales: factors of γ for blocks of the UNet, as in diffusers' `set_ip_adapter_scale`:
                {"down": {"block_2": [0.0, 1.0]}, "up": {"block_0": [0.0, 1.0, 0.0]}}; blocks left out get 0.
            image_prompt_start, image_prompt_end: shares of the steps between which they act, one step at least.
            automatic_layout: find the regions from the text attention of each phrase. Boxes act until
                `layout_start_step`; without boxes, image prompts act from there on only.
            mask_threshold: of automatic layout, in [0, 1].
            layout_start_step: step, of those in which image prompts act, from which automatic layout does, ≥ 1; without
                boxes no later than after half of them.
            drop_grounding: let the resampler ignore phrases and boxes (its learned queries instead).
        Returns:
            As `StableDiffusionXLPipeline`.
        Raises:
            ValueError: before any heavy work, and with the pipeline as it was.
        """
        given = dict(locals())
        arguments = {name: given[name] for name in _SDXL_ARGUMENTS} | kwargs
        self._refuse_unknown(kwargs, given)
        inputs = ImagePromptInputs(**{field.name: given[field.name] for field in fields(ImagePromptInputs)})
        if image_prompts is None:
            inputs.check_empty()
            return super().__call__(**arguments)
        self._check_sdxl_arguments(arguments)
        drawing = Drawing.of_call(
            arguments, roles_of(self, arguments), lambda: self.num_timesteps, self._latent_size(arguments)
        )
        with self.scaled_loras((cross_attention_kwargs or {}).get("scale")):
            prepared = self._condition(inputs, drawing)
        arguments["cross_attention_kwargs"] = {**(cross_attention_kwargs or {}), **prepared}
        try:
            return super().__call__(**arguments)
        finally:
            self._cross_attention_kwargs = None  # megabytes of K and V would stay with the pipeline otherwise

    @staticmethod
    def _refuse_unknown(names: Iterable[str], known: Iterable[str]) -> None:
        """Raise a ValueError for an argument that nobody reads: SDXL's pipelines take any name, and draw without it."""
        for name in set(names) - {"callback", "callback_steps"}:  # deprecated, and read all the same
            near = get_close_matches(name, known, 1)
            hint = f"Did you mean `{near[0]}`?" if near else "Leave it out."
            raise ValueError(f"there is no argument `{name}`. {hint}")

    def _check_sdxl_arguments(self, arguments: dict) -> None:
        """SDXL's own checks, before the encoders run rather than after."""
        names = list(inspect.signature(self.check_inputs).parameters)
        values = {name: arguments[name] for name in names if name in arguments}
        pixels = [side * self.vae_scale_factor for side in self._default_latent_size()]
        values["height"], values["width"] = (arguments.get(n) or p for n, p in zip(("height", "width"), pixels))
        values.setdefault("callback_steps", None)
        self.check_inputs(**{"prompt": None, "prompt_2": None, **values})

    def _default_latent_size(self) -> tuple[int, int]:
        size = self.default_sample_size
        return (size, size) if isinstance(size, int) else tuple(size)

    def _latent_size(self, arguments: dict) -> tuple[int, int]:
        if arguments.get("latents") is not None:
            return tuple(arguments["latents"].shape[-2:])
        default = self._default_latent_size()
        sides = (arguments.get("height"), arguments.get("width"))
        return tuple(side // self.vae_scale_factor if side else d for side, d in zip(sides, default))
