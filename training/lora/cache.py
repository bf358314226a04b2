"""Everything frozen, computed once: a training step is then one UNet forward and backward.

Shape letters: B batch, N objects, K keypoints, C latent channels, h w latent grid, S image tokens, D layer width.
"""

import random
from dataclasses import dataclass, fields

import torch
import torch.nn.functional as F
from PIL import Image
from tqdm import tqdm

from relationbooth_pipeline import RelationBoothPipeline
from relationbooth_pipeline.relation_images import open_image
from relationbooth_pipeline.relation_layouts import phrase_span, token_offsets
from relationbooth_pipeline.relation_rows import UNGUIDED
from relationbooth_pipeline.triplets import Triplet

from ..common.latents import latent_posterior, with_area
from ..common.options import ViewOptions
from ..common.views import View, draw_view
from .losses import keypoint_features


@dataclass
class EncodedPrompts:
    """What every view of a triplet shares: text, image prompts and their latents at the keypoints."""

    text: torch.Tensor  # (1, T, ·)
    pooled: torch.Tensor  # (1, ·)
    image_prompts: object  # EncodedImagePrompts
    keypoint_features: torch.Tensor  # (N, K, C)
    keypoints_visible: torch.Tensor  # bool (N, K)
    predicate: tuple[int, int]  # token span


@dataclass
class CachedView:
    """Inputs of one training sample; a batch is the same with B instead of 1 in front.

    Attributes:
        name: the triplet's, for messages.
        latent_mean, latent_std: of the target's posterior, scaled by the VAE factor, (1, C, h, w).
        text, pooled, time_ids: SDXL's conditioning, (1, T, ·), (1, ·), (1, 6).
        ip_hidden_states, ip_adapter_masks: layers and masks of `ImagePromptStates`.
        prompt_features: E(c_i)[p_k], (1, N, K, C). keypoints: q_k, (1, N, K, 2). is_visible: in both, (1, N, K).
        predicate: token span, (1, 2). objects: union of the masks, bool (1, h, w).
    """

    name: list[str]
    latent_mean: torch.Tensor
    latent_std: torch.Tensor
    text: torch.Tensor
    pooled: torch.Tensor
    time_ids: torch.Tensor
    ip_hidden_states: dict[int, torch.Tensor]
    ip_adapter_masks: dict[int, torch.Tensor]
    prompt_features: torch.Tensor
    keypoints: torch.Tensor
    is_visible: torch.Tensor
    predicate: torch.Tensor
    objects: torch.Tensor

    @property
    def size(self) -> tuple[int, int]:
        """(h, w); only views of one size make a batch."""
        return tuple(self.latent_mean.shape[-2:])

    def to(self, device: torch.device | str, dtype: torch.dtype | None = None) -> "CachedView":
        """Copy on a device; `dtype` is that of the UNet's conditioning, latents and keypoints keep float32."""

        def moved(value, floating):
            if isinstance(value, dict):
                return {key: moved(entry, floating) for key, entry in value.items()}
            if not isinstance(value, torch.Tensor):
                return value
            return value.to(device, dtype if floating and value.is_floating_point() else None)

        conditioning = ("text", "pooled", "time_ids", "ip_hidden_states")
        return CachedView(**{f.name: moved(getattr(self, f.name), f.name in conditioning) for f in fields(self)})


def image_prompt_pixels(image: Image.Image, resolution: int) -> torch.Tensor:
    """An image prompt for the VAE, shape kept to the next multiple of 8, about resolution² pixels: (1, 3, H, W)."""
    scale = resolution / (image.width * image.height) ** 0.5
    size = tuple(max(8, round(side * scale / 8) * 8) for side in image.size)
    data = bytearray(image.resize(size, Image.Resampling.LANCZOS).tobytes())
    pixels = torch.frombuffer(data, dtype=torch.uint8).view(1, size[1], size[0], 3)
    return pixels.permute(0, 3, 1, 2).float() / 127.5 - 1


@torch.no_grad()
def encode_prompts(pipe: RelationBoothPipeline, triplet: Triplet, resolution: int) -> EncodedPrompts:
    """Text and image prompts of a triplet through the frozen encoders, by the pipeline's own inference code."""
    text, _, pooled, _ = pipe.encode_prompt(triplet.prompt, do_classifier_free_guidance=False)
    images = [open_image(file) for file in triplet.image_prompts]
    points = triplet.image_prompt_keypoints
    latents = [latent_posterior(pipe.vae, image_prompt_pixels(image, resolution))[0] for image in images]
    features = [keypoint_features(latent.cpu(), p[None, :, :2])[0] for latent, p in zip(latents, points)]

    return EncodedPrompts(
        text=text,
        pooled=pooled,
        image_prompts=pipe.encode_image_prompts(images, triplet.phrases),
        keypoint_features=torch.stack(features),
        keypoints_visible=points[..., 2] > 0,
        predicate=predicate_span(pipe, triplet),
    )


def predicate_span(pipe: RelationBoothPipeline, triplet: Triplet) -> tuple[int, int]:
    """[start, end) of the predicate among the tokens of the prompt that the text encoders read.

    Raises:
        ValueError: it is no whole words of the prompt, or lies behind the last token that is read.
    """
    # A textual inversion of several vectors is as many tokens.
    prompt, predicate = (pipe.maybe_convert_prompt(t, pipe.tokenizer) for t in (triplet.prompt, triplet.predicate))
    start, end = phrase_span(predicate, prompt, token_offsets(pipe.tokenizer, prompt))
    longest = pipe.tokenizer.model_max_length
    if not 0 < start < end < longest:
        raise ValueError(
            f"{triplet.name}: the predicate {triplet.predicate!r} must be whole words among the first {longest} tokens "
            f"of the prompt {triplet.prompt!r}. Shorten the prompt."
        )
    return start, end


@torch.no_grad()
def encode_view(
    pipe: RelationBoothPipeline, triplet: Triplet, view: View, prompts: EncodedPrompts, image_prompt_scale: float
) -> CachedView:
    """A view of the target and the adapter's K and V for its boxes."""
    mean, std = latent_posterior(pipe.vae, view.pixels[None])
    height, width = mean.shape[-2:]
    boxes = with_area(view.boxes, height, width)
    conditioning = pipe.image_prompt_kwargs(
        prompts.image_prompts,
        boxes=boxes.tolist(),
        image_prompt_scale=image_prompt_scale,
        latent_height=height,
        latent_width=width,
        roles=UNGUIDED,
    )["ip_hidden_states"]
    size = view.pixels.shape[-2:]
    return CachedView(
        name=[triplet.name],
        latent_mean=mean,
        latent_std=std,
        text=prompts.text,
        pooled=prompts.pooled,
        time_ids=torch.tensor([[*view.original_size, *view.crop_top_left, *size]], dtype=torch.float32),
        ip_hidden_states=conditioning.layers,
        ip_adapter_masks=conditioning.masks_of(height, width),
        prompt_features=prompts.keypoint_features[None],
        keypoints=view.keypoints[None, ..., :2],
        is_visible=(view.keypoints[..., 2] > 0)[None] & prompts.keypoints_visible,
        predicate=torch.tensor([prompts.predicate]),
        objects=F.interpolate(view.masks.any(0)[None, None].float(), (height, width))[:, 0] > 0,
    ).to("cpu")


def encode_triplets(
    pipe: RelationBoothPipeline,
    triplets: list[Triplet],
    views: ViewOptions,
    seed: int,
    image_prompt_scale: float = 0.6,
) -> list[list[CachedView]]:
    """Views of every triplet, on the CPU; the same for the same seed.

    Args:
        views: one for each triplet is enough with a centre crop and no flip.
    Returns:
        One list of `views_per_triplet` entries per triplet, all of one size.
    """
    cached = []
    for index, triplet in enumerate(tqdm(triplets, desc="encoding triplets")):
        rng = random.Random(f"{seed} {index}")
        prompts = encode_prompts(pipe, triplet, views.resolution)
        drawn = [draw_view(triplet, views, rng) for _ in range(views.views_per_triplet)]
        cached.append([encode_view(pipe, triplet, view, prompts, image_prompt_scale) for view in drawn])
    return cached


def collate(views: list[CachedView]) -> CachedView:
    """One batch of views of one size; samples with fewer objects are padded, and masks hide the padding."""
    fields_of = {field.name: [getattr(view, field.name) for view in views] for field in fields(CachedView)}

    def padded(tensors, dim):
        longest = max(t.shape[dim] for t in tensors)
        grown = [F.pad(t, (0, 0) * (t.ndim - 1 - dim) + (0, longest - t.shape[dim])) for t in tensors]
        return grown

    def stacked(dicts, batch_dim, padded_dim):
        return {key: torch.cat(padded([d[key] for d in dicts], padded_dim), batch_dim) for key in dicts[0]}

    batch = {
        "name": [name for names in fields_of.pop("name") for name in names],
        "ip_hidden_states": stacked(fields_of.pop("ip_hidden_states"), batch_dim=2, padded_dim=3),
        "ip_adapter_masks": stacked(fields_of.pop("ip_adapter_masks"), batch_dim=0, padded_dim=3),
    }
    for name in ("prompt_features", "keypoints", "is_visible"):
        batch[name] = torch.cat(padded(fields_of.pop(name), dim=1))
    return CachedView(**batch, **{name: torch.cat(tensors) for name, tensors in fields_of.items()})
