"""Seconds and GPU memory of a whole picture of two image prompts by way of offloading, SDXL at full size.

    python -m benchmarks.offloading --resolutions 512 1024 --output offloading.json     # a GPU with 16 GB, 24 GB of RAM

Random weights, and everything that a picture takes: both text encoders, image encoders, UNet and autoencoder. "peak" is
what PyTorch allocated at most, to which the CUDA context adds some hundred MB.
"""

import argparse
import gc
import json
import sys
import time
from pathlib import Path

import torch
from diffusers import EulerDiscreteScheduler
from rich.console import Console
from rich.table import Table

from relationbooth_pipeline import RelationBoothPipeline
from relationbooth_pipeline.relation_layouts import side_by_side

from .denoising import environment
from .training_models import ENCODERS, sdxl_models, white_noise

GIB = 2**30
PROMPT, PHRASES = "a cat is hugging a bear", ["cat", "bear"]
WAYS = {  # of offloading, each begun with all models on the CPU
    "none": lambda pipe, device: pipe.to(device),
    "model": lambda pipe, device: pipe.enable_model_cpu_offload(device=device),
    "group, leaves, a stream": lambda pipe, device: pipe.enable_group_offload(
        onload_device=torch.device(device), offload_type="leaf_level", use_stream=torch.device(device).type == "cuda"
    ),
    "sequential": lambda pipe, device: pipe.enable_sequential_cpu_offload(device=device),
}


def fresh_pipeline(name: str, dtype: torch.dtype, device: str, local: bool) -> RelationBoothPipeline:
    """All models of the size `name`, made on `device`, where random numbers are quick, and moved to the CPU."""
    torch.manual_seed(0)
    parts, local_encoder = sdxl_models(name, dtype, device)
    for model in [*parts.values(), local_encoder]:
        if isinstance(model, torch.nn.Module):
            model.to("cpu")
    pipe = RelationBoothPipeline(
        **parts, scheduler=EulerDiscreteScheduler(), local_image_encoder=local_encoder if local else None
    )
    pipe.set_progress_bar_config(disable=True)
    return pipe


def measure(pipe: RelationBoothPipeline, resolution: int, steps: int, device: str) -> dict:
    """{"first_s": of a first picture, "seconds": of a second one, "step_s": its denoising's share, "peak_bytes"}."""
    prompts, times, ends = [white_noise(seed) for seed in (1, 2)], [], []

    def picture():
        start = time.perf_counter()
        pipe(
            PROMPT, image_prompts=prompts, phrases=PHRASES, boxes=side_by_side(2), height=resolution, width=resolution,
            num_inference_steps=steps, guidance_scale=5.0, generator=torch.Generator().manual_seed(0),
            callback_on_step_end=lambda pipe, step, t, tensors: (ends.append(time.perf_counter()), tensors)[1],
        )  # fmt: skip
        times.append(time.perf_counter() - start)

    cuda = torch.device(device).type == "cuda"
    if cuda:
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
    picture()
    picture()
    peak = torch.cuda.max_memory_allocated() if cuda else None
    return {
        "first_s": times[0],
        "seconds": times[1],
        "step_s": (ends[-1] - ends[-steps]) / max(1, steps - 1),
        "peak_bytes": peak,
    }


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", choices=list(ENCODERS), default="full")
    parser.add_argument("--resolutions", type=int, nargs="+", default=[512, 1024], help="multiples of 8")
    # not "sequential": it fails in plain SDXL too with accelerate 1.15 and transformers 5.24
    parser.add_argument(
        "--ways", nargs="+", choices=list(WAYS), default=list(WAYS)[:-1], help="default: the first three"
    )
    parser.add_argument("--steps", type=int, default=10, help="denoising steps of a picture")
    parser.add_argument(
        "--local_tokens", action="store_true", help="with a local encoder as large as the image encoder"
    )
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--dtype", choices=("float32", "bfloat16", "float16"), default="bfloat16")
    parser.add_argument("--output", type=Path, help="JSON file for all figures")
    given, console = parser.parse_args(arguments), Console()
    report = {"environment": environment(given.device), "ways": {}}
    table = Table(title=f"{given.size}, {given.dtype}: a picture of two image prompts, {given.steps} steps")
    for heading in ("offloading", "side", "s", "first", "s a step", "peak GiB"):
        table.add_column(heading)
    for way in given.ways:
        pipe = fresh_pipeline(given.size, getattr(torch, given.dtype), given.device, given.local_tokens)
        WAYS[way](pipe, given.device)
        for resolution in given.resolutions:
            figures = measure(pipe, resolution, given.steps, given.device)
            report["ways"][f"{way}, {resolution}²"] = figures
            peak = "" if figures["peak_bytes"] is None else f"{figures['peak_bytes'] / GIB:.2f}"
            shown = (f"{figures[key]:.2f}" for key in ("seconds", "first_s", "step_s"))
            table.add_row(way, str(resolution), *shown, peak)
            if given.output:
                given.output.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
        del pipe
        gc.collect()  # a UNet refers to itself
    console.print(table)
    return 0


if __name__ == "__main__":
    sys.exit(main())
