"""A training step recorded as a CUDA graph: the miniature's are so small that a GPU would wait for their launches."""

from collections import Counter
from collections.abc import Callable, Mapping

import torch

WARM_UP = 3  # steps of a kind that run as they are before one is recorded: what is made once has then been made


def to_device(tensor: torch.Tensor, device: torch.device | str) -> torch.Tensor:
    """On `device`, without waiting for what a GPU still computes."""
    if torch.device(device).type != "cuda":
        return tensor.to(device)
    return tensor.pin_memory().to(device, non_blocking=True)


class StepGraphs:
    """`step`, run some times for each kind of batch, then recorded and replayed.

    A kind is the names, shapes and dtypes of a batch. What `step` returns is overwritten by the next replay of a kind.

    Args:
        step: callable, batch → tensors; nothing in it may ask the GPU for a value or move data from elsewhere.
        parameters: whose gradients `step` leaves behind: each recording makes its own.
    """

    def __init__(self, step: Callable, parameters: list[torch.nn.Parameter]):
        self.step, self.parameters = step, parameters
        self.seen, self.recorded = Counter(), {}
        self.stream = torch.cuda.Stream()

    def __call__(self, batch: Mapping[str, torch.Tensor]):
        kind = tuple((name, tuple(value.shape), value.dtype) for name, value in batch.items())
        if kind not in self.recorded and self.seen[kind] < WARM_UP:
            self.seen[kind] += 1
            return self._apart(batch)
        if kind not in self.recorded:
            self.recorded[kind] = self._record(batch)
        graph, inputs, output = self.recorded[kind]
        for name, value in batch.items():
            inputs[name].copy_(value)
        graph.replay()
        return output

    def _apart(self, batch):
        """On a stream of its own, as a recording will be: gradients belong to the stream that met a weight first."""
        self.stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(self.stream):
            output = self.step(batch)
        torch.cuda.current_stream().wait_stream(self.stream)
        return output

    def _record(self, batch):
        inputs = {name: value.clone() for name, value in batch.items()}
        for parameter in self.parameters:
            parameter.grad = None
        torch.cuda.synchronize()
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph, stream=self.stream):
            output = self.step(inputs)
        return graph, inputs, output
