"""A PyTorch detector as ``Predictor`` calls it, made fast for detection alone."""

import copy
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from typing import TypeVar

import torch
from torch import Tensor, fx, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from ssd.modeling.box_head import Predictions
from ssd.modeling.detector import CompiledDetector, SSDDetector
from ssd.modeling.layers import BatchNorm2d, SamePaddingConv2d
from ssd.structures import Container

ModuleT = TypeVar("ModuleT", bound=nn.Module)

# Exact types: a subclass may compute with its weight.
_CONVOLUTIONS = (nn.Conv2d, SamePaddingConv2d)
_BATCH_NORMS = (nn.BatchNorm2d, BatchNorm2d)
# Raised where code that is traced branches on values, or needs a tensor or a number.
_TRACE_ERRORS = (fx.proxy.TraceError, TypeError, AttributeError, RuntimeError)


class TorchNetwork:
    """Detects in batches of the network's size.

    ``network`` is a copy of the detector on its device, in channels-last memory, with batch norms folded into
    convolutions. ``batch_transform`` normalises uint8 images, ``dtype`` is the number format under autocast, and
    ``compiled`` is TEST.COMPILE.
    """

    def __init__(
        self,
        detector: SSDDetector,
        batch_transform: Callable[[Tensor], Tensor],
        dtype: torch.dtype = torch.float32,
        compiled: bool | str = False,
    ):
        network: SSDDetector = fold_batch_norms(detector)
        if dtype != torch.float32:
            for layer in network.modules():
                if type(layer) in (*_CONVOLUTIONS, nn.Linear):  # autocast converts their weights in every call
                    layer.to(dtype)
        network = network.to(memory_format=torch.channels_last)
        self.network = CompiledDetector(network, compiled).eval() if compiled else network
        self._batch_transform = batch_transform
        self._device = next(detector.parameters()).device
        self._dtype = dtype

    def __repr__(self) -> str:
        return f"{type(self.network.backbone).__name__} on {self._device}"

    @torch.inference_mode()
    def __call__(self, images: Tensor) -> list[Container]:
        """Detect in RGB uint8 images (B, 3, S_h, S_w) on the CPU; return ``box_head.detect``'s results on the CPU."""
        found = self.network.box_head.detect(self.predict(images))
        return [detections.to("cpu") for detections in found]

    @torch.inference_mode()
    def predict(self, images: Tensor) -> Predictions:
        """Return the raw predictions for RGB uint8 images (B, 3, S_h, S_w) on the CPU."""
        if self._device.type == "cuda":
            images = images.pin_memory()  # else the copy waits for the device
        pixels = self._batch_transform(images.to(self._device, non_blocking=True))
        with torch.autocast(self._device.type, self._dtype, enabled=self._dtype != torch.float32):
            return self.network.predict(pixels)


def fold_batch_norms(model: ModuleT) -> ModuleT:
    """Return a copy of a model in evaluation mode, with batch norms folded into convolutions: both are linear.

    One is folded where a symbolic trace shows that it alone takes the output of the convolution. Parts that cannot be
    traced keep theirs, and so do layers that are used in several places. Results differ by rounding only.
    """
    folded = copy.deepcopy(model).eval()
    names: dict[nn.Module, list[str]] = defaultdict(list)
    for name, layer in folded.named_modules(remove_duplicate=False):
        names[layer].append(name)
    for conv, norm in list(_pairs(folded)):
        if len(names[conv]) == len(names[norm]) == 1 and _can_fold(conv, norm):
            folded.set_submodule(names[conv][0], fuse_conv_bn_eval(conv, norm))
            rest = nn.Sequential(*norm.children()) if _is_timm(norm) else nn.Identity()
            folded.set_submodule(names[norm][0], rest)
    return folded


def _pairs(module: nn.Module) -> Iterator[tuple[nn.Conv2d, nn.BatchNorm2d]]:
    """Yield convolutions with the batch norms that alone take their output."""
    if not _has_batch_norms(module):
        return
    try:
        graph = _Tracer().trace(module)
    except _TRACE_ERRORS:
        for child in module.children():
            yield from _pairs(child)
        return
    layers = {node: module.get_submodule(str(node.target)) for node in graph.nodes if node.op == "call_module"}
    num_calls = Counter(layers.values())
    for node, norm in layers.items():
        if not isinstance(norm, nn.BatchNorm2d):
            continue
        (source,) = node.all_input_nodes
        conv = layers.get(source)
        if isinstance(conv, nn.Conv2d) and len(source.users) == num_calls[conv] == num_calls[norm] == 1:
            yield conv, norm


def _can_fold(conv: nn.Conv2d, norm: nn.BatchNorm2d) -> bool:
    is_plain = type(conv) in _CONVOLUTIONS and "weight" in dict(conv.named_parameters())  # not computed from others
    return is_plain and norm.running_mean is not None and (type(norm) in _BATCH_NORMS or _is_timm(norm))


def _is_timm(norm: nn.BatchNorm2d) -> bool:
    """Whether this is timm's batch norm, followed by dropout and an activation."""
    return type(norm).__name__ == "BatchNormAct2d" and type(norm).__module__.startswith("timm.")


def _has_batch_norms(module: nn.Module) -> bool:
    return any(isinstance(layer, nn.BatchNorm2d) for layer in module.modules())


class _Tracer(fx.Tracer):
    """Enters only modules that have batch norms."""

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        return isinstance(m, nn.BatchNorm2d) or not _has_batch_norms(m)
