"""A GPU for machines without one: tensors "on" it are the CPU's own, but mixing them with others fails."""

import torch
from torch.multiprocessing.reductions import StorageWeakRef
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_iter

CUDA, CPU = torch.device("cuda"), torch.device("cpu")
NUMPY = (torch.Tensor.numpy, torch.Tensor.__array__)
READS = (torch.ops.aten._local_scalar_dense.default, torch.ops.aten.nonzero.default)  # they wait for the GPU
COPIES = (torch.ops.aten.copy_.default, torch.ops.aten._foreach_copy_.default)


def tensors_in(values):
    return [leaf for leaf in tree_iter(values) if isinstance(leaf, torch.Tensor)]


class PretendedGPU(TorchFunctionMode):
    """While it is entered, "cuda" names a device whose tensors keep their numbers, so that whole programs run on it.

    Unlike fake and meta tensors it knows data-dependent control flow, and needs no CUDA build for the backward pass.
    As on a GPU, operations on tensors of both devices raise, but for copies and for numbers (no axes) of the CPU.
    Not pretended: autocast, the GPU's own kernels and random numbers, `torch.load(map_location="cuda")`.
    """

    def __init__(self):
        super().__init__()
        # By address; a weak reference keeps the address of a freed storage from being given out again.
        self.storages = {}
        self.is_recording = False
        self.watch = _Watch(self)

    def __enter__(self):
        self.watch.__enter__()
        return super().__enter__()

    def __exit__(self, *error):
        super().__exit__(*error)
        self.watch.__exit__(*error)

    def recorded(self, step, parameters):
        """In place of `StepGraphs`: runs every step as it is, and raises where a recording would."""

        def run(batch):
            self.is_recording = True
            try:
                return step(batch)
            finally:
                self.is_recording = False

        return run

    def holds(self, tensor):
        return tensor.untyped_storage()._cdata in self.storages

    def take(self, tensor):
        reference = StorageWeakRef(tensor.untyped_storage())
        self.storages[reference.cdata] = reference
        return tensor

    def release(self, tensor):
        del self.storages[tensor.untyped_storage()._cdata]
        return tensor

    def moved(self, tensor, device):
        """A copy on `device`, or `tensor` itself if it is there already."""
        # numbers may: `clip_grad_norm_` asks torch's C++ for the device of gradients, which is not pretended
        if self.is_recording and tensor.ndim and self.holds(tensor) != (device.type == "cuda"):
            raise RuntimeError("a recorded step on the pretended GPU moves a tensor between devices")
        return tensor if self.holds(tensor) == (device.type == "cuda") else _Move.apply(tensor, self)

    def __torch_function__(self, function, types, args=(), kwargs=None):
        kwargs = dict(kwargs or {})
        if function == torch.Tensor.device.__get__ and self.holds(args[0]):
            return CUDA
        if function in NUMPY and self.holds(args[0]):
            raise TypeError("a tensor on the pretended GPU is not numpy's")
        if function in (torch.Tensor.cpu, torch.Tensor.cuda):
            return self.moved(args[0], CPU if function is torch.Tensor.cpu else CUDA)
        if function is torch.Tensor.pin_memory:
            return args[0]
        if function is torch.Tensor.to:
            targets = [*args[1:], *kwargs.values()]
            devices = [self._device_of(target) for target in targets if self._device_of(target) is not None]
            if not devices or "meta" in (devices[0].type, args[0].device.type):
                return function(*args, **kwargs)
            args, kwargs = [_on_cpu(value) for value in args], {name: _on_cpu(value) for name, value in kwargs.items()}
            return self.moved(function(*args, **kwargs), devices[0])
        if (device := kwargs.get("device")) is not None and torch.device(device).type == "cuda":
            if getattr(kwargs.get("generator"), "device", CUDA).type == "cpu":
                raise RuntimeError(f"{function.__name__} on the pretended GPU was given the CPU's generator")
            return self.take(function(*args, **{**kwargs, "device": CPU}))
        return function(*args, **kwargs)

    def _device_of(self, target):
        if isinstance(target, torch.Tensor):
            return CUDA if self.holds(target) else target.device
        return torch.device(target) if isinstance(target, (str, torch.device)) else None


def _on_cpu(value):
    return CPU if isinstance(value, (str, torch.device)) else value


class _Watch(TorchDispatchMode):
    """Sees every operation, the backward pass's too."""

    def __init__(self, gpu):
        super().__init__()
        self.gpu = gpu

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        given = tensors_in((args, kwargs))
        if self.gpu.is_recording and function in READS and any(map(self.gpu.holds, given)):
            raise RuntimeError(f"a recorded step on the pretended GPU reads a value: {function}")
        result = function(*args, **(kwargs or {}))
        if function in COPIES or not any(self.gpu.holds(tensor) for tensor in given):
            return result
        strays = [str(tuple(tensor.shape)) for tensor in given if tensor.ndim and not self.gpu.holds(tensor)]
        if strays:
            raise RuntimeError(f"{function} on the pretended GPU met tensors left on the CPU: {', '.join(strays)}")
        for tensor in tensors_in(result):
            self.gpu.take(tensor)
        return result


class _Move(torch.autograd.Function):
    """A copy on the other device; its gradient moves back."""

    @staticmethod
    def forward(context, tensor, gpu):
        context.gpu = gpu
        copy = tensor.detach().clone()
        return gpu.release(copy) if gpu.holds(tensor) else gpu.take(copy)

    @staticmethod
    def backward(context, gradient):
        return _Move.apply(gradient, context.gpu), None
