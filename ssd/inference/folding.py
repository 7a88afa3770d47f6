"""Batch norms folded into the convolutions before them: in evaluation both are linear, and one pass does for two."""

import copy
from collections import Counter
from collections.abc import Iterator
from typing import TypeVar

from torch import fx, nn
from torch.nn.utils.fusion import fuse_conv_bn_weights

from ssd.modeling.backbone.efficient_net import SamePaddingConv2d
from ssd.modeling.layers import BatchNorm2d

ModuleT = TypeVar("ModuleT", bound=nn.Module)

# Exact types: a subclass may do something else with its weight.
_CONVOLUTIONS = (nn.Conv2d, SamePaddingConv2d)
_BATCH_NORMS = (nn.BatchNorm2d, BatchNorm2d)
# What fx and a network's own code raise when the code does with a stand-in what takes a tensor: branches on its values,
# counts it, hands it to a function of numbers.
_TRACE_ERRORS = (fx.proxy.TraceError, TypeError, AttributeError, RuntimeError)


def fold_batch_norms(model: ModuleT) -> ModuleT:
    """Return a copy of a model in evaluation mode, with its batch norms folded into its convolutions.

    One is folded where a symbolic trace shows that it, and nothing else, takes what the convolution gives. Parts that
    cannot be traced keep theirs, and so do layers that serve in several places. The results differ by rounding only.

    Args:
        model: not changed; what it learns later does not reach the copy.
    """
    folded = copy.deepcopy(model).eval()
    names = _names_by_layer(folded)
    for conv, norm in list(_pairs(folded)):
        if len(names[conv]) > 1 or len(names[norm]) > 1 or not _can_fold(conv, norm):
            continue
        assert norm.running_mean is not None
        assert norm.running_var is not None
        conv.weight, conv.bias = fuse_conv_bn_weights(
            conv.weight, conv.bias, norm.running_mean, norm.running_var, norm.eps, norm.weight, norm.bias
        )
        folded.set_submodule(names[norm][0], _rest_of(norm))
    return folded


def _names_by_layer(model: nn.Module) -> dict[nn.Module, list[str]]:
    names: dict[nn.Module, list[str]] = {}
    for name, layer in model.named_modules(remove_duplicate=False):
        names.setdefault(layer, []).append(name)
    return names


def _pairs(module: nn.Module) -> Iterator[tuple[nn.Conv2d, nn.BatchNorm2d]]:
    """Convolutions of a module with the batch norms that alone take what they give."""
    if not _has_batch_norms(module):
        return
    try:
        graph = _Tracer().trace(module)
    except _TRACE_ERRORS:
        for child in module.children():
            yield from _pairs(child)
        return
    calls = [(node, module.get_submodule(node.target)) for node in graph.nodes if node.op == "call_module"]
    num_calls = Counter(layer for _, layer in calls)
    layers = dict(calls)
    for node, norm in calls:
        if not isinstance(norm, nn.BatchNorm2d):
            continue
        (source,) = node.all_input_nodes
        conv = layers.get(source)
        if isinstance(conv, nn.Conv2d) and len(source.users) == num_calls[conv] == num_calls[norm] == 1:
            yield conv, norm


def _can_fold(conv: nn.Conv2d, norm: nn.BatchNorm2d) -> bool:
    is_plain = type(conv) in _CONVOLUTIONS and "weight" in dict(conv.named_parameters())  # not computed from others
    is_linear = norm.running_mean is not None and norm.running_var is not None
    return is_plain and is_linear and (type(norm) in _BATCH_NORMS or _is_timm(norm))


def _is_timm(norm: nn.BatchNorm2d) -> bool:
    """Whether this is timm's batch norm with dropout and an activation behind it."""
    return type(norm).__name__ == "BatchNormAct2d" and type(norm).__module__.startswith("timm.")


def _rest_of(norm: nn.BatchNorm2d) -> nn.Module:
    """What a batch norm does besides normalising."""
    return nn.Sequential(*norm.children()) if _is_timm(norm) else nn.Identity()


def _has_batch_norms(module: nn.Module) -> bool:
    return any(isinstance(layer, nn.BatchNorm2d) for layer in module.modules())


class _Tracer(fx.Tracer):
    """Looks into modules only as far as there are batch norms."""

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        return isinstance(m, nn.BatchNorm2d) or not _has_batch_norms(m)
