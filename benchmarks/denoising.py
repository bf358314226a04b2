"""How long a guided denoising step takes: plain SDXL, ours with 0, 2 and 8 image prompts, and diffusers' IP-Adapter.

    python -m benchmarks.denoising                                   # tiny and middle, minutes on a laptop
    python -m benchmarks.denoising --sizes full --output full.json   # SDXL at 512², bfloat16, 15 rounds, 12 GB

All variants run in one process on the same random weights; each round runs every variant once, in a new order, and
ratios are taken within rounds. IP-Adapter is measured as diffusers runs it: its resampler and its K/V projections are
part of every step. "flops" are the operations of matrix products, convolutions and attention as a share of a plain
step's: time can hardly fall below them. The bounds are meant for the full size. A bound is missed only when the
interval's lower end exceeds it; at full size the exit status is then 1.
"""

import argparse
import json
import platform
import sys
from functools import partial
from pathlib import Path

import diffusers
import torch
from rich.console import Console
from rich.table import Table
from transformers import CLIPVisionConfig, CLIPVisionModelWithProjection

from relationbooth_pipeline import LocalImageEncoder

from .allocations import peak_allocated
from .compiled_graphs import count_by_depth
from .meters import Meter, operations
from .statistics import Verdict, alternate, paired_ratio, summary
from .variants import SIZES, Comparison, built_in

FEW, MANY = 2, 8  # image prompts
PROJECTIONS = {count: f"projection {count}" for count in (FEW, MANY)}
# of a step: plain for the first and the last two, ours with two image prompts for the third
MOST_FEW, MOST_IP_ADAPTER, MOST_MANY, MOST_PROJECTION = 1.03, 1.0, 1.02, 0.1
MIB = 2**20
CLIP_BIG_G = {  # laion/CLIP-ViT-bigG-14-laion2B-39B-b160k, 1.8 B parameters
    "hidden_size": 1664,
    "intermediate_size": 8192,
    "num_hidden_layers": 48,
    "num_attention_heads": 16,
    "projection_dim": 1280,
    "patch_size": 14,
    "image_size": 224,
    "hidden_act": "gelu",
}
DENSE_SIDE = 896  # pixels; input of the local image encoder
WARM_UP = 2  # runs: the first allocates, the second settles


def measure_steps(name: str, rounds: int | None, device: torch.device | str, dtype: torch.dtype | None = None) -> dict:
    """Times, ratios and memory of every variant at one size.

    Args:
        name: key of `SIZES`.
        rounds: how often each variant is timed; None for the size's own number.
        device, dtype: where and in what precision; None for the size's own dtype.
    Returns:
        JSON-ready report; seconds, bytes, and `Verdict` objects under "verdicts".
    """
    comparison, meter = Comparison(SIZES[name], device, (FEW, MANY), dtype), Meter(device)
    steps = comparison.steps()
    projections = {PROJECTIONS[count]: lambda count=count: comparison.project(count) for count in (FEW, MANY)}
    runs = {**steps, **projections}
    for run in runs.values():
        for _ in range(WARM_UP):
            run()
    rounds = rounds or SIZES[name].rounds
    seconds = alternate(runs, rounds, meter.seconds)
    held = comparison.held_bytes()
    peaks = {variant: meter.peak_bytes(run) for variant, run in runs.items()}
    done = {variant: operations(run) for variant, run in runs.items()}  # last: it takes more memory than any of them

    def row(variant):
        ratio = paired_ratio(seconds[variant], seconds["plain"])
        memory = {"peak_bytes": peaks[variant], "held_bytes": held.get(variant)}
        work = {"operations": done[variant], "operations_of_plain": done[variant] / done["plain"]}
        return {**summary(seconds[variant]), **memory, **work, "of_plain": vars(ratio)}

    return {
        "size": name,
        "rounds": rounds,
        "dtype": str(comparison.dtype).removeprefix("torch."),
        "variants": {variant: row(variant) for variant in runs},
        "seconds": seconds,
        "verdicts": verdicts(seconds),
    }


def verdicts(seconds: dict[str, list[float]]) -> list[Verdict]:
    """The bounds, from paired times."""

    def of(name, base):
        return paired_ratio(seconds[name], seconds[base])

    few, many = f"ours {FEW}", f"ours {MANY}"
    return [
        Verdict(f"a step with {FEW} image prompts / a plain step", of(few, "plain"), MOST_FEW),
        Verdict(f"a step with {FEW} image prompts / a step with IP-Adapter", of(few, "ip-adapter"), MOST_IP_ADAPTER),
        Verdict(f"a step with {MANY} image prompts / with {FEW}", of(many, few), MOST_MANY),
        *(
            Verdict(f"projection and masks of {count} image prompts / a plain step", of(name, "plain"), MOST_PROJECTION)
            for count, name in PROJECTIONS.items()
        ),
    ]


@torch.no_grad()
def measure_encoders(
    device: torch.device | str,
    dtype: torch.dtype | None,
    rounds: int = 1,
    config: dict = CLIP_BIG_G,
    side: int = DENSE_SIDE,
) -> dict:
    """Seconds and bytes per image prompt of the image encoder and of the local image encoder, with random weights.

    Returns:
        {name: {"median_s", …, "counted_bytes": weights and activations, counted on the meta device}}.
    """
    meter = Meter(device)
    # One tower serves both: the local encoder is the same model, read densely.
    plain = CLIPVisionModelWithProjection.forward
    reads = {
        f"image encoder, {config['image_size']}²": (
            config["image_size"],
            lambda encoder, pixels: plain(encoder, pixels, output_hidden_states=True),
        ),
        f"local image encoder, {side}²": (side, LocalImageEncoder.dense_features),  # pooling it costs next to nothing
    }

    def tower():
        return LocalImageEncoder(CLIPVisionConfig(**config)).eval()

    def counted(pixels, read):
        with built_in(dtype, "meta"):
            encoder, image = tower(), torch.randn(1, 3, pixels, pixels)
        return lambda: read(encoder, image)

    result = {name: {"counted_bytes": peak_allocated(partial(counted, *read))} for name, read in reads.items()}
    with built_in(dtype, device):
        encoder, images = tower(), {name: torch.randn(1, 3, pixels, pixels) for name, (pixels, _) in reads.items()}
    runs = {name: partial(read, encoder, images[name]) for name, (_, read) in reads.items()}
    for name, run in runs.items():
        run()
        result[name] |= summary([meter.seconds(run) for _ in range(rounds)])
    return result


def print_steps(console: Console, report: dict) -> None:
    table = Table(title=f"{report['size']}: one guided step, {report['rounds']} rounds, {report['dtype']}")
    for heading in ("", "s", "of plain [95 %]", "flops", "peak MiB", "held MiB"):
        table.add_column(heading, justify="right" if heading else "left")
    for name, row in report["variants"].items():
        ratio, held = row["of_plain"], row["held_bytes"]
        table.add_row(
            name,
            f"{row['median_s']:.4f}",
            f"{ratio['median']:.3f} [{ratio['low']:.3f}, {ratio['high']:.3f}]",
            f"{row['operations_of_plain']:.3f}",
            f"{row['peak_bytes'] / MIB:.0f}",
            "" if held is None else f"{held / MIB:.1f}",
        )
    console.print(table)
    for verdict in report["verdicts"]:
        console.print(f"  {verdict}", highlight=False, markup=False)


def environment(device: torch.device | str) -> dict:
    """What the figures depend on."""
    name = torch.cuda.get_device_name(device) if torch.device(device).type == "cuda" else platform.processor() or "CPU"
    return {
        "device": name,
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
        "diffusers": diffusers.__version__,
        "python": platform.python_version(),
    }


def parse_arguments(arguments: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", nargs="+", choices=list(SIZES), default=["tiny", "middle"])
    parser.add_argument("--rounds", type=int, help="of every size; default: 40, at full size 15")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--dtype", choices=("float32", "bfloat16", "float16"), help="default: the size's own")
    parser.add_argument("--threads", type=int, help="CPU threads; default: PyTorch's own choice")
    parser.add_argument("--skip_encoders", action="store_true", help="do not time CLIP ViT-bigG (3.7 GB in bfloat16)")
    parser.add_argument("--skip_graphs", action="store_true", help="do not count compiled graphs")
    parser.add_argument("--output", type=Path, help="JSON file for all figures")
    options = parser.parse_args(arguments)
    if options.rounds is not None and options.rounds < 1:
        parser.error(f"`--rounds` must be at least 1, got {options.rounds}")
    return options


def main(arguments: list[str] | None = None) -> int:
    options, console = parse_arguments(arguments), Console()
    if options.threads:
        torch.set_num_threads(options.threads)
    dtype = getattr(torch, options.dtype) if options.dtype else None
    report = {"environment": environment(options.device), "sizes": []}
    for name in options.sizes:
        report["sizes"].append(measure_steps(name, options.rounds, options.device, dtype))
        print_steps(console, report["sizes"][-1])
    if not options.skip_encoders:
        report["encoders"] = measure_encoders(options.device, dtype or torch.bfloat16)
        rows = report["encoders"].items()
        times = "; ".join(
            f"{n}: {row['median_s']:.2f} s, {row['counted_bytes'] / MIB:.0f} MiB counted" for n, row in rows
        )
        console.print(f"encoders, CLIP ViT-bigG/14, per image prompt, once per generation: {times}", highlight=False)
    if not options.skip_graphs:
        report["graphs"] = count_by_depth(image_prompts=FEW, device=options.device)
        for name, counts in report["graphs"].items():
            told = ", ".join(f"{graphs} at {depth}" for depth, graphs in counts.items())
            console.print(f"compiled graphs by transformer layers per block, {name}: {told}", highlight=False)
    if options.output:
        text = json.dumps(report, indent=1, default=lambda v: {**v.__dict__, "ratio": vars(v.ratio), "verdict": v.word})
        options.output.write_text(text + "\n", encoding="utf-8")
    full = [size for size in report["sizes"] if size["size"] == "full"]
    return int(any(verdict.missed for size in full for verdict in size["verdicts"]))


if __name__ == "__main__":
    sys.exit(main())
