"""From image prompts, phrases and places to what the UNet's attention reads: encode, place, project; once per call."""

import torch
from diffusers.utils import logging

from .relation_attention import prepare_parallel_attention
from .relation_images import clip_pixels
from .relation_inputs import EncodedImagePrompts, images_per_sample, pad_scales, phrases_per_sample, scales_per_sample
from .relation_layouts import phrase_spans, side_by_side
from .relation_regions import boxes_per_sample, masks_per_sample, pad_boxes, pad_masks

logger = logging.get_logger(__name__)


class RelationConditioningMixin:
    """Steps of an SDXL pipeline between its arguments and its denoising loop: `encode_image_prompts`, `layout`,
    `prepare_regions`, and `image_prompt_kwargs`, which goes through all of them.

    Expects the components and methods of `RelationBoothPipeline`: adapter, image prompt encoders, first text encoder
    with its tokenizer, UNet, `check_adapter` and `heaviest_relation`.
    """

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
