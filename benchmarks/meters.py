"""Seconds and peak bytes of one run, on a CPU or an accelerator."""

import re
import resource
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from relationbooth_pipeline.relation_rows import Conditioning

KIB = 1024


class Meter:
    """Times and weighs runs on one device.

    Args:
        device: the CPU or a CUDA device.
    """

    def __init__(self, device: torch.device | str):
        self.device = torch.device(device)

    def _finish(self) -> None:
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)

    def seconds(self, run: Callable[[], object]) -> float:
        """Wall-clock seconds of `run`, the device's queue included."""
        self._finish()
        start = time.perf_counter()
        run()
        self._finish()
        return time.perf_counter() - start

    def peak_bytes(self, run: Callable[[], object]) -> int:
        """Most memory in use while `run` runs, in bytes: allocated on the accelerator, or resident in this process.

        It includes what all compared variants hold, so only differences between variants mean something.
        """
        if self.device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(self.device)
            run()
            self._finish()
            return torch.cuda.max_memory_allocated(self.device)
        _reset_resident_peak()
        run()
        return _resident_peak()


def operations(run: Callable[[], object]) -> int:
    """Floating-point operations of `run` in matrix products, convolutions and attention, by PyTorch's count.

    A ratio of times can hardly fall below the ratio of these: it says what no better order of the work would mend.
    """
    # attention as plain products: PyTorch does not count the CPU's fused kernel
    with FlopCounterMode(display=False) as counter, sdpa_kernel(SDPBackend.MATH):
        run()
    return counter.get_total_flops()


def _reset_resident_peak() -> None:
    clear = Path("/proc/self/clear_refs")
    if clear.exists():
        clear.write_text("5", encoding="utf-8")  # resets VmHWM alone; Linux, proc(5)


def _resident_peak() -> int:
    """Peak resident bytes since the reset; since the process began where there is no /proc."""
    status = Path("/proc/self/status")
    if status.exists():
        return int(re.search(r"VmHWM:\s+(\d+) kB", status.read_text(encoding="utf-8"))[1]) * KIB
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * KIB


def tensor_bytes(value: Any) -> int:
    """Bytes of all tensors in modules, tensors, and nested containers of them."""
    if isinstance(value, torch.nn.Module):
        return sum(p.nbytes for p in [*value.parameters(), *value.buffers()])
    if isinstance(value, torch.Tensor):
        return value.nbytes
    if isinstance(value, Conditioning):
        value = [value.layers, value.masks_of(*value.latent_size)]
    if isinstance(value, dict):
        value = list(value.values())
    return sum(map(tensor_bytes, value)) if isinstance(value, (list, tuple)) else 0
