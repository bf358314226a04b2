"""How long a RelationLoRA training step takes with everything frozen cached, against the same step with nothing cached.

    python -m benchmarks.training                                          # tiny and middle, minutes on a laptop
    python -m benchmarks.training --sizes full --rounds 3 --threads 2      # SDXL at 512², bfloat16, 14 GB

Both run the code that training runs, on one triplet of two objects; the uncached step encodes it anew each time, as the
released code does. Peak memory with and without gradient checkpointing is counted on tensors without data, at 512² and
1024². The bounds are meant for the full size, where the exit status is 1 when one is missed.
"""

import argparse
import json
import sys
from pathlib import Path

import torch
from diffusers import DDPMScheduler, UNet2DConditionModel
from rich.console import Console
from rich.table import Table

from relationbooth_pipeline.relation_attention import cross_attention_layers, install_parallel_attention
from relationbooth_pipeline.relation_regions import attention_grids
from training.lora.cache import CachedView
from training.lora.loss_terms import LossSettings
from training.lora.step import step_losses

from .allocations import peak_allocated
from .denoising import environment
from .meters import Meter
from .statistics import Verdict, alternate, paired_ratio, summary
from .training_models import ENCODERS, KEYPOINTS, OBJECTS, TrainingComparison, add_lora
from .variants import SIZES, TEXT_TOKENS, built_in

LEAST_GAIN, LEAST_GAIN_LOCAL = 1.7, 8.0  # uncached / cached, without and with local tokens
MOST_BYTES = 16e9  # of a step at 1024² with gradient checkpointing
GIB = 2**30


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


def measure(name: str, rounds: int, device: torch.device | str, dtype: torch.dtype | None) -> dict:
    """Times and verdicts at one size."""
    comparison, meter = TrainingComparison(name, device, dtype), Meter(device)
    runs = comparison.runs()
    runs["cached"]()  # the first allocates
    seconds = alternate(runs, rounds, meter.seconds)
    peak = meter.peak_bytes(runs["cached"])

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
        "peak_bytes": peak,  # of a cached step, while all frozen models are held as well
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
    counted = parser.add_mutually_exclusive_group()
    counted.add_argument("--memory_only", action="store_true", help="count bytes, time nothing")
    counted.add_argument("--skip_memory", action="store_true", help="count nothing: minutes less at full size")
    parser.add_argument("--output", type=Path, help="JSON file for all figures")
    options, console = parser.parse_args(arguments), Console()
    if options.rounds < 1:
        parser.error(f"`--rounds` must be at least 1, got {options.rounds}")
    if options.threads:
        torch.set_num_threads(options.threads)
    dtype = getattr(torch, options.dtype) if options.dtype else None
    report, missed = {"environment": environment(options.device), "sizes": []}, False
    for name in options.sizes:
        memory = {} if options.skip_memory else measure_memory(name)
        for what, count in memory.items():
            console.print(f"{name}, a training step at {what}: {count / GIB:.2f} GiB (counted)", highlight=False)
        missed |= name == "full" and bool(memory) and memory["1024², gradient checkpointing"] > MOST_BYTES
        entry = {"memory": memory}
        if not options.memory_only:
            entry |= measure(name, options.rounds, options.device, dtype)
            table = Table(title=f"{name}: one training step at {entry['resolution']}², {options.rounds} rounds")
            peak = f"{entry['peak_bytes'] / GIB:.2f} GiB in use at most in a cached step, frozen models included"
            console.print(f"{name}, {entry['dtype']}: {peak}", highlight=False)
            for heading in ("", "median s", "times a cached step [95 %]"):
                table.add_column(heading)
            for variant, row in entry["variants"].items():
                ratio = paired_ratio(entry["seconds"][variant], entry["seconds"]["cached"])
                table.add_row(variant, f"{row['median_s']:.3f}", str(ratio))
            console.print(table)
            for verdict in entry["verdicts"] if name.startswith("full") else []:
                console.print(f"  {verdict}", highlight=False, markup=False, soft_wrap=True)
            missed |= name == "full" and any(verdict.missed for verdict in entry["verdicts"])
        report["sizes"].append(entry)
    if options.output:
        text = json.dumps(report, indent=1, default=lambda v: {**v.__dict__, "ratio": vars(v.ratio), "verdict": v.word})
        options.output.write_text(text + "\n", encoding="utf-8")
    return int(missed)


if __name__ == "__main__":
    sys.exit(main())
