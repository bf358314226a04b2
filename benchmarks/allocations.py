"""Peak bytes of a run, counted on the meta device: tensors have shapes and no data, so any model fits."""

import weakref
from collections.abc import Callable
from unittest import mock

import torch
import torch.nn.functional as F
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves


class AllocationCounter(TorchDispatchMode):
    """Bytes of all storages alive at once, as an allocator without fragmentation would hold them.

    Attributes:
        current, peak: bytes, of what was allocated since it was entered.
    """

    def __init__(self):
        super().__init__()
        self.current = self.peak = 0
        self._alive = weakref.WeakSet()

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        output = function(*args, **(kwargs or {}))
        for tensor in tree_leaves(output):
            if isinstance(tensor, torch.Tensor):
                self._count(tensor.untyped_storage())
        return output

    def _count(self, storage) -> None:
        if storage in self._alive:
            return
        self._alive.add(storage)
        size = storage.nbytes()
        self.current += size
        self.peak = max(self.peak, self.current)
        weakref.finalize(storage, self._release, size)

    def _release(self, size: int) -> None:
        self.current -= size


class FusedAttention(torch.autograd.Function):
    """Allocates what a fused attention kernel does: the output and one number per query for the backward pass."""

    @staticmethod
    def forward(ctx, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor) -> torch.Tensor:
        output = query.new_empty((*query.shape[:-1], value.shape[-1]))
        ctx.save_for_backward(query, key, value, output, query.new_empty(query.shape[:-1], dtype=torch.float32))
        return output

    @staticmethod
    def backward(ctx, gradient: torch.Tensor) -> tuple[torch.Tensor, ...]:
        return tuple(torch.empty_like(tensor) for tensor in ctx.saved_tensors[:3])


def _fused_attention(query, key, value, attn_mask=None, **_):
    return FusedAttention.apply(query, key, value)


def peak_allocated(build: Callable[[], Callable[[], object]]) -> int:
    """Peak bytes of building a model and running it on the meta device: `build()` returns the run.

    Kernels' workspaces and fragmentation are not counted.
    """
    # On the meta device attention would be counted with its P × P probabilities. A torch function mode would not reach
    # the recomputation inside `backward`, so the function itself is replaced.
    fused = mock.patch.object(F, "scaled_dot_product_attention", _fused_attention)
    with torch.device("meta"), fused, AllocationCounter() as counter:
        build()()
        return counter.peak
