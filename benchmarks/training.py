"""How long a RelationLoRA training step takes with everything frozen cached, against the same step with nothing cached.

    python -m benchmarks.training                                          # tiny and middle, minutes on a laptop
    python -m benchmarks.training --sizes full --rounds 3 --threads 2      # SDXL at 512², bfloat16, 14 GB

Both run the code that training runs, on one triplet of two objects; the uncached step encodes it anew each time, as the
released code does. Peak memory with and without gradient checkpointing is counted on tensors without data, at 512² and
1024². The bounds are meant for the full size, where the exit status is 1 when one is missed.
"""

import argparse
import json
import random
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

import torch
from diffusers import AutoencoderKL, DDPMScheduler, UNet2DConditionModel
from peft import LoraConfig
from PIL import Image
from rich.console import Console
from rich.table import Table
from transformers import (
    CLIPTextConfig,
    CLIPTextModel,
    CLIPTextModelWithProjection,
    CLIPTokenizer,
    CLIPVisionConfig,
    CLIPVisionModelWithProjection,
)

from relationbooth_pipeline import LocalImageEncoder, RelationAdapter, RelationBoothPipeline, miniature
from relationbooth_pipeline.relation_attention import cross_attention_layers, install_parallel_attention
from relationbooth_pipeline.relation_regions import attention_grids, side_by_side
from relationbooth_pipeline.triplets import Triplet
from training.relation_step import LossSettings, lora_target_modules, step_losses
from training.schedule import Draw, noise_and_timesteps
from training.triplet_cache import CachedView, collate, encode_prompts, encode_view
from training.triplet_views import draw_view

from .allocations import peak_allocated
from .denoising import CLIP_BIG_G, DENSE_SIDE, environment
from .meters import Meter
from .statistics import Verdict, alternate, paired_ratio, summary
from .variants import SIZES, TEXT_TOKENS, built_in

OBJECTS, KEYPOINTS, RANK = 2, 17, 4
LEAST_GAIN, LEAST_GAIN_LOCAL = 1.7, 8.0  # uncached / cached, without and with local tokens
MOST_BYTES = 16e9  # of a step at 1024² with gradient checkpointing
GIB = 2**30


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


class TrainingComparison:
    """One triplet and the models that train on it, at one size, with random weights."""

    def __init__(self, name: str, device, dtype: torch.dtype | None = None, seed: int = 0):
        torch.manual_seed(seed)
        size, encoders = SIZES[name], ENCODERS[name]
        self.resolution, self.dtype, self.device = encoders.resolution, dtype or size.dtype, torch.device(device)
        with built_in(self.dtype, device):
            unet = UNet2DConditionModel(sample_size=size.latent, **size.unet)
            vision = CLIPVisionModelWithProjection(CLIPVisionConfig(**encoders.vision))
            parts = {**_text_models(encoders), "vae": _vae(encoders.vae), "unet": unet}
            config = {"local_image_size": encoders.local_size}
            parts["relation_adapter"] = RelationAdapter.for_unet(
                unet, encoders.vision["hidden_size"], encoders.text_widths[0], size.resampler, **config
            )
            # One tower serves both: the local encoder is the same model, read densely.
            with torch.device("meta"):
                self.local = LocalImageEncoder(vision.config)
            self.local.load_state_dict(vision.state_dict(), assign=True)
        self.scheduler = DDPMScheduler(beta_schedule="scaled_linear", beta_start=0.00085, beta_end=0.012)
        self.pipe = RelationBoothPipeline(**parts, scheduler=self.scheduler, image_prompt_encoder=vision)
        for model in [*self.pipe.components.values(), self.local]:
            if isinstance(model, torch.nn.Module):
                model.requires_grad_(False).eval()
        install_parallel_attention(unet)
        add_lora(unet)
        self.folder = tempfile.TemporaryDirectory()
        self.triplet = _triplet(Path(self.folder.name))
        self.view = draw_view(self.triplet, self.resolution, random.Random(0))
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


def add_lora(unet) -> None:
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


def _triplet(folder: Path) -> Triplet:
    generator = torch.Generator().manual_seed(0)
    for name in ("target", "object_0", "object_1"):
        values = torch.randint(0, 256, (512, 512, 3), generator=generator, dtype=torch.uint8)
        Image.fromarray(values.numpy()).save(folder / f"{name}.png")
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


def step_bytes(name: str, latent: int, gradient_checkpointing: bool) -> int:
    """Counted peak bytes of a training step: UNet weights, LoRA, activations and gradients; batch 1, bfloat16."""
    size = SIZES[name]

    def build():
        with built_in(torch.bfloat16, "meta"):
            unet = UNet2DConditionModel(sample_size=latent, **size.unet).requires_grad_(False).train()
        install_parallel_attention(unet)
        add_lora(unet)
        if gradient_checkpointing:
            unet.enable_gradient_checkpointing()
        widths = list(cross_attention_layers(unet).values())
        tokens, half = 16 * OBJECTS, {"dtype": torch.bfloat16}
        grids = [h * w for h, w in attention_grids(latent, latent, len(size.unet["block_out_channels"]))]
        batch = CachedView(
            name=[""],
            latent_mean=torch.zeros(1, 4, latent, latent),
            latent_std=torch.ones(1, 4, latent, latent),
            text=torch.zeros(1, TEXT_TOKENS, size.unet["cross_attention_dim"], **half),
            pooled=torch.zeros(1, size.pooled[0], **half),
            time_ids=torch.zeros(1, 6, **half),
            ip_hidden_states={w: torch.zeros(2, widths.count(w), 1, tokens, w, **half) for w in set(widths)},
            ip_adapter_masks={p: torch.ones(1, 1, p, tokens, dtype=torch.bool) for p in grids},
            prompt_features=torch.zeros(1, OBJECTS, KEYPOINTS, 4),
            keypoints=torch.zeros(1, OBJECTS, KEYPOINTS, 2),
            is_visible=torch.ones(1, OBJECTS, KEYPOINTS, dtype=torch.bool),
            predicate=torch.tensor([[3, 4]]),
            objects=torch.ones(1, latent, latent, dtype=torch.bool),
        )
        scheduler = DDPMScheduler(beta_schedule="scaled_linear", beta_start=0.00085, beta_end=0.012)
        noise = torch.randn(1, 4, latent, latent)

        def run():
            step_losses(unet, batch, noise, noise, torch.tensor([500]), scheduler, LossSettings())[0].backward()

        return run

    return peak_allocated(build)


def measure(name: str, rounds: int, device, dtype: torch.dtype | None) -> dict:
    """Times and verdicts at one size."""
    comparison, meter = TrainingComparison(name, device, dtype), Meter(device)
    runs = comparison.runs()
    runs["cached"]()  # the first allocates
    seconds = alternate(runs, rounds, meter.seconds)

    def verdict(variant, least):
        claim = f"a cached step / a step with nothing cached{variant.removeprefix('uncached')}"
        return Verdict(claim, paired_ratio(seconds["cached"], seconds[variant]), 1 / least)

    return {
        "size": name,
        "resolution": comparison.resolution,
        "rounds": rounds,
        "dtype": str(comparison.dtype).removeprefix("torch."),
        "variants": {variant: summary(times) for variant, times in seconds.items()},
        "seconds": seconds,
        "verdicts": [verdict("uncached", LEAST_GAIN), verdict("uncached, local tokens", LEAST_GAIN_LOCAL)],
    }


def measure_memory(name: str) -> dict[str, int]:
    """Counted bytes of a step by resolution, with and without gradient checkpointing."""
    latent = SIZES[name].latent
    return {
        f"{8 * side}²{', gradient checkpointing' if checkpointing else ''}": step_bytes(name, side, checkpointing)
        for side in (latent, 2 * latent)
        for checkpointing in (False, True)
    }


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", nargs="+", choices=list(ENCODERS), default=["tiny", "middle"])
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--dtype", choices=("float32", "bfloat16"), help="default: the size's own")
    parser.add_argument("--threads", type=int, help="CPU threads; default: PyTorch's own choice")
    parser.add_argument("--memory_only", action="store_true", help="count bytes, time nothing")
    parser.add_argument("--output", type=Path, help="JSON file for all figures")
    options, console = parser.parse_args(arguments), Console()
    if options.rounds < 1:
        parser.error(f"`--rounds` must be at least 1, got {options.rounds}")
    if options.threads:
        torch.set_num_threads(options.threads)
    dtype = getattr(torch, options.dtype) if options.dtype else None
    report, missed = {"environment": environment(options.device), "sizes": []}, False
    for name in options.sizes:
        memory = measure_memory(name)
        for what, count in memory.items():
            console.print(f"{name}, a training step at {what}: {count / GIB:.2f} GiB (counted)", highlight=False)
        missed |= name == "full" and memory["1024², gradient checkpointing"] > MOST_BYTES
        entry = {"memory": memory}
        if not options.memory_only:
            entry |= measure(name, options.rounds, options.device, dtype)
            table = Table(title=f"{name}: one training step at {entry['resolution']}², {options.rounds} rounds")
            for heading in ("", "median s", "times a cached step [95 %]"):
                table.add_column(heading)
            for variant, row in entry["variants"].items():
                ratio = paired_ratio(entry["seconds"][variant], entry["seconds"]["cached"])
                table.add_row(variant, f"{row['median_s']:.3f}", str(ratio))
            console.print(table)
            for verdict in entry["verdicts"] if name == "full" else []:
                console.print(f"  {verdict}", highlight=False, markup=False, soft_wrap=True)
            missed |= name == "full" and any(verdict.missed for verdict in entry["verdicts"])
        report["sizes"].append(entry)
    if options.output:
        text = json.dumps(report, indent=1, default=lambda v: {**v.__dict__, "ratio": vars(v.ratio), "verdict": v.word})
        options.output.write_text(text + "\n")
    return int(missed)


if __name__ == "__main__":
    sys.exit(main())
