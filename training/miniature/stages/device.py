"""Where a stage trains, and in which precision."""

import contextlib
import time

import torch


def default_device():
    return "cuda" if torch.cuda.is_available() else "cpu"


def faster_precision(device):
    """ "bf16" where a device multiplies bfloat16 matrices faster than float32, else "no", as a CPU without instructions
    for it: measured, in some hundredths of a second."""

    def seconds(dtype):
        matrix, times = torch.randn(512, 512, device=device, dtype=dtype), []
        for _ in range(5):
            start = time.perf_counter()
            (matrix @ matrix).sum().item()  # waits for a GPU
            times.append(time.perf_counter() - start)
        return min(times)

    return "bf16" if seconds(torch.bfloat16) < seconds(torch.float32) else "no"


def mixed_precision(name=None, device=None):
    """Callable that gives the autocast context of "bf16" or "no" on a device.

    Args:
        name: None: the faster one. device: None: a GPU where there is one.
    """
    device = torch.device(device or default_device())
    if (name or faster_precision(device)) == "no":
        return contextlib.nullcontext
    return lambda: torch.autocast(device.type, torch.bfloat16)
