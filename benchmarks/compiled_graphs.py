"""How many graphs `torch.compile` builds: it must not grow with the number of layers."""

from collections.abc import Callable, Sequence
from dataclasses import replace

import torch

from .variants import SIZES, Comparison


class CountingBackend:
    """A `torch.compile` backend that runs graphs as they are and counts them."""

    def __init__(self):
        self.graphs = 0

    def __call__(self, module: torch.fx.GraphModule, example_inputs: list) -> Callable:
        self.graphs += 1
        return module.forward


def graph_count(layers: tuple[int, ...], image_prompts: int | None, device: torch.device | str = "cpu") -> int:
    """Graphs that a guided step needs after `unet.compile_repeated_blocks()`.

    Args:
        layers: transformer layers of the attention blocks at each UNet level, e.g. (1, 1, 2).
        image_prompts: how many ours reads; None for plain SDXL.
    Raises:
        torch._dynamo.exc.FailOnRecompileLimitHit: so many that the rest would have run uncompiled and uncounted.
    """
    size = SIZES["tiny"]
    size = replace(size, unet={**size.unet, "transformer_layers_per_block": layers})
    comparison = Comparison(size, device, image_prompts=(image_prompts,) if image_prompts else ())
    name, unet = ("plain", comparison.plain) if image_prompts is None else (f"ours {image_prompts}", comparison.ours)
    step, backend = comparison.steps()[name], CountingBackend()
    torch._dynamo.reset()
    unet.compile_repeated_blocks(backend=backend, fullgraph=True)
    try:
        with torch._dynamo.config.patch(fail_on_recompile_limit_hit=True):
            step()
            step()
    finally:
        torch._dynamo.reset()
    return backend.graphs


def count_by_depth(
    depths: Sequence[int] = (1, 2, 4), image_prompts: int = 2, device: torch.device | str = "cpu"
) -> dict[str, dict[int, int]]:
    """{"plain" or "ours": {transformer layers of every attention block: graphs}}."""
    variants = {"plain": None, "ours": image_prompts}
    return {
        name: {depth: graph_count((depth, depth, depth), count, device) for depth in depths}
        for name, count in variants.items()
    }
