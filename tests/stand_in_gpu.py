"""A stand-in for a GPU: tensors of another device that compute on the CPU, and a record of what makes the host wait.

Code that asks for the device takes the branches of a GPU, and its results can be compared with those of a CPU. The
device is "meta", since autograd needs the driver of any other.
"""

import sys
from contextlib import nullcontext
from typing import Any, TypeVar

import pytest
import torch
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.utils._python_dispatch import TorchDispatchMode, return_and_correct_aliasing
from torch.utils._pytree import tree_leaves, tree_map_only

GPU = torch.device("meta")
# Beginnings of the operations whose result, or its shape, the host must know.
_WAITS = ("_local_scalar_dense", "nonzero", "masked_select", "unique", "_unique", "is_nonzero", "equal", "nms")
_INDEXED = ("index", "index_put", "index_put_", "_index_put_impl_")

ModuleT = TypeVar("ModuleT", bound=nn.Module)


class GpuTensor(Tensor):
    """A tensor of the stand-in; ``inner`` has its numbers."""

    inner: Tensor
    __torch_function__ = torch._C._disabled_torch_function_impl

    @staticmethod
    def __new__(cls, inner: Tensor) -> "GpuTensor":
        layout = {"strides": inner.stride(), "storage_offset": inner.storage_offset(), "dtype": inner.dtype}
        tensor = Tensor._make_wrapper_subclass(cls, inner.shape, device=GPU, **layout)
        tensor.inner = inner
        return tensor

    def tolist(self) -> Any:
        return self.cpu().tolist()

    @classmethod
    def __torch_dispatch__(cls, func: Any, *_: Any) -> Any:
        raise AssertionError(f"{func} outside of the stand-in's mode")


class StandInGpu(TorchDispatchMode):
    """Mode in which the device GPU exists; ``waits`` gets the name of every operation that makes the host wait for it.

    A copy to the device counts, unless it is not blocking and its source is in page-locked memory.
    """

    def __init__(self, monkeypatch: pytest.MonkeyPatch):
        super().__init__()
        self.waits: list[str] = []
        self._pinned: list[Tensor] = []
        # Neither is there for this device.
        monkeypatch.setattr(torch, "autocast", lambda *_, **__: nullcontext())
        module = sys.modules[Optimizer.__module__]
        monkeypatch.setattr(module, "_get_fused_kernels_supported_devices", lambda: ["cpu", "cuda", GPU.type])

    def __torch_dispatch__(self, func: Any, types: Any, args: tuple = (), kwargs: dict | None = None) -> Any:
        kwargs = kwargs or {}
        name = func.overloadpacket.__name__
        if name == "is_pinned":
            return self._is_pinned(args[0])
        if name == "_pin_memory":
            self._pinned.append(args[0].clone())
            return self._pinned[-1]
        on_gpu = [isinstance(leaf, GpuTensor) for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, Tensor)]
        if func.namespace == "ssd":
            with self:  # its operations count
                return func.redispatch(torch._C.DispatchKeySet(torch._C.DispatchKey.CPU), *args, **kwargs)
        is_result_on_gpu = any(on_gpu) if kwargs.get("device") is None else torch.device(kwargs["device"]) == GPU
        if self._is_waited_for(name, args, kwargs, on_gpu, is_result_on_gpu):
            self.waits.append(name)
        inner_args, inner_kwargs = tree_map_only(GpuTensor, lambda tensor: tensor.inner, (args, kwargs))
        if kwargs.get("device") is not None:
            inner_kwargs["device"] = "cpu"
        result = func(*inner_args, **inner_kwargs)
        if is_result_on_gpu:
            result = tree_map_only(Tensor, GpuTensor, result)
        return return_and_correct_aliasing(func, args, kwargs, result)

    def _is_pinned(self, tensor: Tensor) -> bool:
        return any(tensor is pinned for pinned in self._pinned)

    def _is_waited_for(self, name: str, args: tuple, kwargs: dict, on_gpu: list[bool], is_result_on_gpu: bool) -> bool:
        if name == "_to_copy" and on_gpu[0] != is_result_on_gpu:
            return not (is_result_on_gpu and kwargs.get("non_blocking") and self._is_pinned(args[0]))
        if name == "copy_" and on_gpu[0] != on_gpu[1]:
            return not (on_gpu[0] and args[2:] == (True,) and self._is_pinned(args[1]))
        if name in _INDEXED and on_gpu[0]:
            indices = [index for index in args[1] if index is not None]
            return any(index.dtype == torch.bool or not isinstance(index, GpuTensor) for index in indices)
        return any(on_gpu) and name.startswith(_WAITS)


def to_gpu(module: ModuleT) -> ModuleT:
    """Move the parameters and buffers of a module to the stand-in."""
    for layer in module.modules():
        for tensors in (layer._parameters, layer._buffers):
            for name, tensor in tensors.items():
                if tensor is not None:
                    moved = GpuTensor(tensor.detach().clone())
                    tensors[name] = nn.Parameter(moved, tensor.requires_grad) if tensors is layer._parameters else moved
    return module


def make_fused(optimizer: Optimizer) -> Optimizer:
    """Let an optimizer take the fused kernel, as on a GPU."""
    for group in (optimizer.defaults, *optimizer.param_groups):
        group["fused"], group["foreach"] = True, False
    return optimizer
