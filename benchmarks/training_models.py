"""What a training benchmark trains: one triplet of two objects, and all models of SDXL at one size, random weights."""

import random
import tempfile
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from diffusers import AutoencoderKL, DDPMScheduler, UNet2DConditionModel
from peft import LoraConfig
from PIL import Image
from transformers import (
    CLIPTextConfig,
    CLIPTextModel,
    CLIPTextModelWithProjection,
    CLIPTokenizer,
    CLIPVisionConfig,
    CLIPVisionModelWithProjection,
)

from relationbooth_pipeline import LocalImageEncoder, RelationAdapter, RelationBoothPipeline, miniature
from relationbooth_pipeline.relation_attention import install_parallel_attention
from relationbooth_pipeline.relation_layouts import side_by_side
from relationbooth_pipeline.triplets import Triplet
from training.common.batch_order import Draw, noise_and_timesteps
from training.common.options import ViewOptions
from training.common.views import draw_view
from training.lora.cache import CachedView, collate, encode_prompts, encode_view
from training.lora.loss_terms import LossSettings
from training.lora.step import lora_target_modules, step_losses

from .denoising import CLIP_BIG_G, DENSE_SIDE
from .variants import SIZES, built_in

OBJECTS, KEYPOINTS, RANK = 2, 17, 4


def _tower(width: int, layers: int, heads: int, patch: int = 14) -> dict:
    return {
        "hidden_size": width,
        "intermediate_size": 4 * width,
        "num_hidden_layers": layers,
        "num_attention_heads": heads,
        "patch_size": patch,
        "image_size": 224,
        "projection_dim": width,
    }


@dataclass(frozen=True)
class Encoders:
    """The frozen models beside a UNet of `SIZES`, of matching widths.

    Attributes:
        resolution: of the training images, pixels.
        text_widths, text_layers: of both text encoders; the widths together are the UNet's context.
        vision: CLIP vision config. local_size: input side of the local encoder. vae: channels.
    """

    resolution: int
    text_widths: tuple[int, int]
    text_layers: tuple[int, int]
    vision: dict
    local_size: int
    vae: tuple


ENCODERS = {
    "tiny": Encoders(128, (32, 32), (2, 2), _tower(32, 3, 2, patch=56), 448, (16, 16, 32, 32)),
    "middle": Encoders(256, (256, 512), (6, 8), _tower(512, 12, 8, patch=28), 448, (64, 128, 256, 256)),
    "full": Encoders(512, (768, 1280), (12, 32), CLIP_BIG_G, DENSE_SIDE, (128, 256, 512, 512)),
}
ENCODERS["full_1024"] = replace(ENCODERS["full"], resolution=1024)


def sdxl_models(name: str, dtype: torch.dtype, device: torch.device | str) -> tuple[dict, LocalImageEncoder]:
    """All models of the pipeline with random weights, by their components' names; and a local encoder.

    One tower serves both image encoders: the local one is the same model, read densely, on the same weights.
    """
    size, encoders = SIZES[name], ENCODERS[name]
    with built_in(dtype, device):
        unet = UNet2DConditionModel(sample_size=size.latent, **size.unet)
        vision = CLIPVisionModelWithProjection(CLIPVisionConfig(**encoders.vision))
        parts = {**_text_models(encoders), "vae": _vae(encoders.vae), "unet": unet, "image_prompt_encoder": vision}
        parts["relation_adapter"] = RelationAdapter.for_unet(
            unet,
            encoders.vision["hidden_size"],
            encoders.text_widths[0],
            size.resampler,
            local_image_size=encoders.local_size,
        )
        with torch.device("meta"):
            local = LocalImageEncoder(vision.config)
        local.load_state_dict(vision.state_dict(), assign=True)
        positions = vision.get_submodule("vision_model.embeddings").position_ids  # in no state dict
        local.get_submodule("vision_model.embeddings").position_ids = positions.clone()
    for model in [*parts.values(), local]:
        if isinstance(model, torch.nn.Module):
            model.requires_grad_(False).eval()
    return parts, local


class TrainingComparison:
    """One triplet and the models that train on it, at one size, with random weights."""

    def __init__(self, name: str, device: torch.device | str, dtype: torch.dtype | None = None, seed: int = 0):
        torch.manual_seed(seed)
        self.resolution, self.device = ENCODERS[name].resolution, torch.device(device)
        self.dtype = dtype or SIZES[name].dtype
        parts, self.local = sdxl_models(name, self.dtype, device)
        unet = parts["unet"]
        self.scheduler = DDPMScheduler(beta_schedule="scaled_linear", beta_start=0.00085, beta_end=0.012)
        self.pipe = RelationBoothPipeline(**parts, scheduler=self.scheduler)
        install_parallel_attention(unet)
        add_lora(unet)
        self.folder = tempfile.TemporaryDirectory()
        self.triplet = _triplet(Path(self.folder.name))
        self.view = draw_view(self.triplet, ViewOptions(self.resolution), random.Random(0))
        self.cached = self.encode(local=False)  # K and V have the same shapes with local tokens, which take minutes

    def encode(self, local: bool) -> CachedView:
        """The triplet through all frozen models."""
        self.pipe.register_modules(local_image_encoder=self.local if local else None)
        prompts = encode_prompts(self.pipe, self.triplet, self.resolution)
        return encode_view(self.pipe, self.triplet, self.view, prompts, 0.6)

    def step(self, cached: CachedView) -> None:
        """UNet forward and backward."""
        batch = collate([cached]).to(self.device, self.dtype)
        noise = noise_and_timesteps([Draw(0, 0, 0)], batch.latent_mean.shape[1:], 1000)
        loss, _ = step_losses(
            self.pipe.unet, batch, *(t.to(self.device) for t in noise), self.scheduler, LossSettings()
        )
        loss.backward()
        self.pipe.unet.zero_grad()

    def runs(self) -> dict:
        return {
            "cached": lambda: self.step(self.cached),
            "uncached": lambda: self.step(self.encode(local=False)),
            "uncached, local tokens": lambda: self.step(self.encode(local=True)),
        }


def add_lora(unet: UNet2DConditionModel) -> None:
    """A RelationLoRA in float32 on a frozen UNet, as the training script adds it."""
    unet.add_adapter(LoraConfig(r=RANK, lora_alpha=RANK, target_modules=lora_target_modules(unet)))


def _text_models(encoders: Encoders) -> dict:
    tokenizer = CLIPTokenizer.from_pretrained(miniature.path() / "tokenizer")

    def config(width, layers):
        return CLIPTextConfig(
            vocab_size=len(tokenizer),
            hidden_size=width,
            intermediate_size=4 * width,
            num_hidden_layers=layers,
            num_attention_heads=max(1, width // 64),
            projection_dim=width,
            bos_token_id=tokenizer.bos_token_id,
            eos_token_id=tokenizer.eos_token_id,
        )

    (width, width_2), (layers, layers_2) = encoders.text_widths, encoders.text_layers
    return {
        "text_encoder": CLIPTextModel(config(width, layers)),
        "text_encoder_2": CLIPTextModelWithProjection(config(width_2, layers_2)),
        "tokenizer": tokenizer,
        "tokenizer_2": tokenizer,
    }


def _vae(channels: tuple) -> AutoencoderKL:
    return AutoencoderKL(
        block_out_channels=channels,
        down_block_types=("DownEncoderBlock2D",) * len(channels),
        up_block_types=("UpDecoderBlock2D",) * len(channels),
        layers_per_block=2,
        norm_num_groups=min(32, channels[0]),
        force_upcast=False,
    )


def white_noise(seed: int, side: int = 512) -> Image.Image:
    values = torch.randint(0, 256, (side, side, 3), generator=torch.Generator().manual_seed(seed), dtype=torch.uint8)
    return Image.fromarray(values.numpy())


def _triplet(folder: Path) -> Triplet:
    generator = torch.Generator().manual_seed(0)
    for seed, name in enumerate(("target", "object_0", "object_1")):
        white_noise(seed).save(folder / f"{name}.png")
    points = torch.cat([torch.rand(OBJECTS, KEYPOINTS, 2, generator=generator), torch.ones(OBJECTS, KEYPOINTS, 1)], -1)
    return Triplet(
        name="random",
        image=folder / "target.png",
        image_prompts=[folder / "object_0.png", folder / "object_1.png"],
        prompt="a cat is hugging a bear",
        phrases=["cat", "bear"],
        predicate="is hugging",
        boxes=torch.tensor(side_by_side(OBJECTS)),
        masks=None,
        keypoints=points,
        image_prompt_keypoints=points,
    )
