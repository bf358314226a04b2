"""RelationBoothPipeline: SDXL with own characters that do something together.

`pipeline.py` names every module of the package that it reaches, because the folder door copies only those.
"""

import functools
import inspect

import torch
from diffusers import AutoencoderKL, StableDiffusionXLPipeline, UNet2DConditionModel
from diffusers.schedulers import KarrasDiffusionSchedulers
from diffusers.utils import logging
from transformers import (
    CLIPImageProcessor,
    CLIPTextModel,
    CLIPTextModelWithProjection,
    CLIPTokenizer,
    CLIPVisionModelWithProjection,
)

from .relation_adapter import RelationAdapter
from .relation_attention import install_parallel_attention, prepare_parallel_attention
from .relation_checkpoints import adapter_from_released  # noqa: F401 (the folder door copies what is named here)
from .relation_image_encoder import LocalImageEncoder
from .relation_images import clip_pixels
from .relation_inputs import (
    EncodedImagePrompts,
    boxes_per_sample,
    images_per_sample,
    masks_per_sample,
    pad_boxes,
    pad_masks,
    pad_scales,
    phrases_per_sample,
    scales_per_sample,
)
from .relation_loaders import DEFAULT_SCALE, RelationAdapterLoaderMixin
from .relation_lora import RelationLoraMixin
from .relation_phrases import phrase_spans
from .relation_regions import side_by_side
from .relation_resampler import LocalTokenResampler  # noqa: F401 (the folder door copies what is named here)

logger = logging.get_logger(__name__)


def _extends_sdxl(call):
    """Give `call` SDXL's signature followed by its own keyword arguments, without a copy of SDXL's."""
    base = inspect.signature(StableDiffusionXLPipeline.__call__)
    own = [p for p in inspect.signature(call).parameters.values() if p.kind is p.KEYWORD_ONLY]
    *named, rest = base.parameters.values()
    call.__signature__ = base.replace(parameters=[*named, *own, rest])

    @functools.wraps(call)
    def bound_call(self, *args, **kwargs):
        mine = {p.name: kwargs.pop(p.name) for p in own if p.name in kwargs}
        arguments = dict(base.bind(self, *args, **kwargs).arguments)
        arguments.pop("self")
        arguments.update(arguments.pop(rest.name, {}))
        return call(self, arguments, **mine)

    return bound_call


class RelationBoothPipeline(RelationAdapterLoaderMixin, RelationLoraMixin, StableDiffusionXLPipeline):
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
        self._relation_metadata = {}
        if relation_adapter is not None:
            relation_adapter.check_fits(unet)
            install_parallel_attention(unet)

    @property
    def components(self) -> dict:
        """As in diffusers, without our slots while they are empty: `OtherPipeline(**pipe.components)` then works."""
        own = set(self._optional_components) - set(StableDiffusionXLPipeline._optional_components)
        return {name: part for name, part in super().components.items() if part is not None or name not in own}

    @classmethod
    def from_pipe(cls, pipeline, **kwargs):
        """As in diffusers, but the weights keep their dtype: the default would cast the shared ones to float32."""
        if "torch_dtype" not in kwargs:
            kwargs.setdefault("dtype", pipeline.unet.dtype)
        return super().from_pipe(pipeline, **kwargs)

    @_extends_sdxl
    @torch.no_grad()
    def __call__(
        self,
        sdxl_arguments,
        *,
        image_prompts=None,
        phrases=None,
        boxes=None,
        masks=None,
        image_prompt_scale=None,
        automatic_layout=False,
        mask_threshold=0.5,
        layout_start_step=5,
        drop_grounding=False,
    ):
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
            automatic_layout: find the regions from the text attention of each phrase. Boxes act until
                `layout_start_step`; without boxes, image prompts act from there on only.
            mask_threshold: of automatic layout, in [0, 1].
            layout_start_step: UNet call from which automatic layout acts, ≥ 1.
            drop_grounding: let the resampler ignore phrases and boxes (its learned queries instead).
        Returns:
            As `StableDiffusionXLPipeline`.
        Raises:
            ValueError: before any heavy work, and with the pipeline as it was.
        """
        if image_prompts is None:
            given = {"phrases": phrases, "boxes": boxes, "masks": masks}
            if extra := [name for name, value in given.items() if value is not None]:
                raise ValueError(
                    f"{', '.join(f'`{n}`' for n in extra)} given without `image_prompts`. Pass both or neither."
                )
            return super().__call__(**sdxl_arguments)

        arguments = dict(sdxl_arguments)
        self._check_sdxl_arguments(arguments)
        height, width = self._latent_size(arguments)
        prompt = arguments.get("prompt")
        kwargs = self.image_prompt_kwargs(
            image_prompts,
            phrases,
            boxes=boxes,
            masks=masks,
            image_prompt_scale=image_prompt_scale,
            automatic_layout=automatic_layout,
            mask_threshold=mask_threshold,
            layout_start_step=layout_start_step,
            drop_grounding=drop_grounding,
            prompt=prompt,
            batch_size=self._batch_size(arguments),
            num_images_per_prompt=arguments.get("num_images_per_prompt", 1),
            latent_height=height,
            latent_width=width,
        )
        arguments["cross_attention_kwargs"] = {**(arguments.get("cross_attention_kwargs") or {}), **kwargs}
        try:
            return super().__call__(**arguments)
        finally:
            self._cross_attention_kwargs = None  # megabytes of K and V would stay with the pipeline otherwise

    @torch.no_grad()
    def image_prompt_kwargs(
        self,
        image_prompts,
        phrases=None,
        *,
        latent_height: int,
        latent_width: int,
        boxes=None,
        masks=None,
        image_prompt_scale=None,
        automatic_layout=False,
        mask_threshold=0.5,
        layout_start_step=5,
        drop_grounding=False,
        prompt=None,
        batch_size: int = 1,
        num_images_per_prompt: int = 1,
    ) -> dict:
        """`cross_attention_kwargs` that make the UNet read image prompts, in any SDXL pipeline that shares it.

        Give them to `StableDiffusionXLControlNetPipeline`, `StableDiffusionXLImg2ImgPipeline`, …:
        `other(..., cross_attention_kwargs=pipe.image_prompt_kwargs(...))`. They hold for one call.

        Args:
            latent_height, latent_width: image height and width divided by `vae_scale_factor`.
            batch_size: number of prompts.
            others: as in `__call__`.
        """
        self.check_adapter()
        prepare_parallel_attention(self.unet, self._execution_device)
        if automatic_layout:
            self._check_automatic_layout(prompt, mask_threshold, layout_start_step)
        samples = None
        if isinstance(image_prompts, EncodedImagePrompts):
            encoded, counts = image_prompts, image_prompts.counts
            if len(counts) != batch_size:
                raise ValueError(f"`image_prompts` were encoded for {len(counts)} prompts, got {batch_size}.")
            if phrases is not None and phrases_per_sample(phrases, counts) != encoded.phrases:
                raise ValueError("`phrases` differ from those the image prompts were encoded with. Encode them again.")
            phrases = encoded.phrases
        else:
            samples = images_per_sample(image_prompts, batch_size)
            counts = [len(sample) for sample in samples]
            phrases = phrases_per_sample(phrases, counts)
        regions = self.prepare_regions(counts, boxes, masks, latent_height, latent_width, zero_boxes=automatic_layout)
        scale = self._image_prompt_scale if image_prompt_scale is None else image_prompt_scale
        scales = pad_scales(scales_per_sample(scale, counts))
        spans = self._phrase_spans(phrases, prompt) if automatic_layout else None
        if samples is not None:
            encoded = self._encode_samples(samples, phrases)
        return self._conditioning(
            encoded, regions, scales, spans, mask_threshold, layout_start_step, drop_grounding, num_images_per_prompt
        )

    @torch.no_grad()
    def encode_image_prompts(self, image_prompts, phrases, batch_size: int = 1) -> EncodedImagePrompts:
        """Image prompts through the encoders, once; pass the result as `image_prompts` as often as you like.

        Args:
            image_prompts, phrases: as in `__call__`.
            batch_size: number of prompts that they are for.
        """
        self.check_adapter()
        samples = images_per_sample(image_prompts, batch_size)
        return self._encode_samples(samples, phrases_per_sample(phrases, [len(sample) for sample in samples]))

    def prepare_regions(self, counts, boxes, masks, height: int, width: int, zero_boxes: bool = False):
        """Boxes for the resampler and masks for attention.

        Args:
            counts: image prompts of each sample.
            height, width: of the latents, in cells.
            zero_boxes: without boxes and masks use all-zero boxes, which cover nothing.
        Returns:
            (boxes (B, N, 4), attention masks {P: bool (B, 1, P, S)}).
        """
        grid_masks = None
        if masks is not None:
            if boxes is not None:
                raise ValueError("give `boxes` or `masks`, not both: boxes are taken from the masks.")
            grid_masks, samples = pad_masks(masks_per_sample(masks, counts), height, width)
        elif boxes is not None:
            samples = boxes_per_sample(boxes, counts)
        elif zero_boxes:
            samples = [[[0.0] * 4] * count for count in counts]
        else:
            samples = [self.layout(count) for count in counts]
        boxes = pad_boxes(samples)
        present = torch.arange(boxes.shape[1]) < torch.tensor(counts)[:, None]
        levels = len(self.unet.config.block_out_channels)
        return boxes, self.relation_adapter.attention_masks(boxes, present, height, width, levels, grid_masks)

    def layout(self, count: int) -> list[list[float]]:
        """Boxes for `count` objects when none are given: the heaviest RelationLoRA's prior, else side by side."""
        relation = self.heaviest_relation()
        prior = relation.layout_prior if relation else None
        if prior and len(prior) == count:
            return prior
        if prior:
            logger.warning(f"the layout prior is for {len(prior)} objects, not {count}: they are placed side by side.")
        return side_by_side(count)

    def _encode_samples(self, samples, phrases) -> EncodedImagePrompts:
        adapter, device = self.relation_adapter, self._execution_device
        images = [image for sample in samples for image in sample]
        present = torch.arange(max(map(len, samples))) < torch.tensor([len(sample) for sample in samples])[:, None]

        def padded(rows):  # one row per image → (B, N, …), zeros for absent objects
            full = rows.new_zeros(*present.shape, *rows.shape[1:])
            full[present.to(rows.device)] = rows
            return full

        def pixels(encoder, size):
            return clip_pixels(images, size, adapter.config.image_prompt_size).to(device, encoder.dtype)

        encoder, local = self.image_prompt_encoder, self.local_image_encoder
        if encoder is None:
            raise ValueError(
                "encoding `image_prompts` needs `image_prompt_encoder`. Load the adapter with its encoders again."
            )
        image_tokens = encoder(pixels(encoder, encoder.config.image_size), output_hidden_states=True).hidden_states[-2]
        local_tokens = None
        if local is not None:
            local_tokens = padded(local(pixels(local, adapter.config.local_image_size), grid=adapter.config.local_grid))
        phrase_embeds = self._phrase_embeds([phrase for sample in phrases for phrase in sample])
        return EncodedImagePrompts(padded(image_tokens), padded(phrase_embeds), present, local_tokens, phrases)

    def _phrase_embeds(self, phrases: list[str]) -> torch.Tensor:
        """Pooled output of the first text encoder, (R, D): the final norm's state at the end token."""
        if self.text_encoder is None:
            raise ValueError(
                "encoding `phrases` needs the first text encoder. Load it, or pass `encode_image_prompts`' result."
            )
        tokens = self.tokenizer(
            self.maybe_convert_prompt(phrases, self.tokenizer),
            padding="max_length",
            max_length=self.tokenizer.model_max_length,
            truncation=True,
            return_tensors="pt",
        )
        return self.text_encoder(tokens.input_ids.to(self._execution_device)).pooler_output

    def _conditioning(
        self, encoded, regions, scales, spans, mask_threshold, layout_start_step, drop_grounding, num_images_per_prompt
    ) -> dict:
        adapter, device = self.relation_adapter, self._execution_device
        boxes, attention_masks = regions

        def placed(tensor):
            return None if tensor is None else tensor.to(device, adapter.dtype)

        layers = adapter(
            placed(encoded.image_tokens),
            placed(encoded.phrase_embeds),
            placed(boxes),
            placed(scales),
            local_tokens=placed(encoded.local_tokens),
            drop_grounding=torch.full((len(boxes),), True, device=device) if drop_grounding else None,
        )

        def repeated(tensor, dim):
            return tensor.to(device).repeat_interleave(num_images_per_prompt, dim=dim)

        layers = {width: repeated(stacked, dim=2) for width, stacked in layers.items()}
        attention_masks = {positions: repeated(mask, dim=0) for positions, mask in attention_masks.items()}
        if spans is not None:
            attention_masks = adapter.automatic_layout(
                repeated(spans, dim=0), attention_masks, mask_threshold, layout_start_step
            )
        return {"ip_hidden_states": layers, "ip_adapter_masks": attention_masks}

    def _phrase_spans(self, phrases, prompt) -> torch.Tensor:
        """Token span of every phrase in its prompt, int (B, N, 2)."""
        prompts = [prompt] if isinstance(prompt, str) else prompt
        samples = []
        for sample, text in zip(phrases, prompts):
            text = self.maybe_convert_prompt(text, self.tokenizer)
            spans = phrase_spans(sample, text, lambda word: len(self.tokenizer(word).input_ids) - 2)
            for phrase, (start, end) in zip(sample, spans):
                if not 0 < start < end < self.tokenizer.model_max_length:
                    raise ValueError(
                        f"automatic layout must find each phrase in the prompt: {phrase!r} is not among the first "
                        f"{self.tokenizer.model_max_length} tokens of {text!r}. Use the prompt's own word, or pass "
                        f"`boxes`."
                    )
            samples.append(torch.tensor(spans).reshape(-1, 2))
        return torch.nn.utils.rnn.pad_sequence(samples, batch_first=True)

    def _check_automatic_layout(self, prompt, mask_threshold, layout_start_step) -> None:
        if prompt is None:
            raise ValueError("automatic layout finds phrases in `prompt`: pass the text, not `prompt_embeds`.")
        if not 0 <= mask_threshold <= 1:
            raise ValueError(f"`mask_threshold` must be in [0, 1], got {mask_threshold}.")
        if not isinstance(layout_start_step, int) or layout_start_step < 1:
            raise ValueError(f"`layout_start_step` must be an integer ≥ 1, got {layout_start_step!r}.")

    def _check_sdxl_arguments(self, arguments: dict) -> None:
        """SDXL's own checks, before the encoders run rather than after."""
        for name in ("ip_adapter_image", "ip_adapter_image_embeds"):
            if arguments.get(name) is not None:
                raise ValueError(
                    f"`{name}` and `image_prompts` cannot act together: both read the parallel branch. Pass one."
                )
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

    @staticmethod
    def _batch_size(arguments: dict) -> int:
        prompt = arguments.get("prompt")
        if prompt is None:
            return arguments["prompt_embeds"].shape[0]
        return 1 if isinstance(prompt, str) else len(prompt)
