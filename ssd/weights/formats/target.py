"""What the library knows of a kind of checkpoint that it writes for another project."""

import math
from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple

from yacs.config import CfgNode

from ssd.weights.formats.source import StateDict


class Target(NamedTuple):
    """A kind of foreign checkpoint to write.

    Attributes:
        name: as ``ssd convert --to`` takes it.
        title: what messages call it.
        restore: maps the weights, in our names, and the names of the classes without background to the whole content
            of the file, for torch.save; raises CheckpointError where the other project has no such network.
        differences: what of a config such a file cannot hold and the other project does otherwise by default, a
            sentence each, with what to set there. The config is complete, with the levels that follow from the
            backbone; it is one of a network that ``restore`` takes.
    """

    name: str
    title: str
    restore: Callable[[StateDict, Sequence[str]], dict[str, Any]]
    differences: Callable[[CfgNode], list[str]]


def are_close(values: Sequence[float], expected: Sequence[float]) -> bool:
    """Whether numbers of two configs are the same but for rounding, to 1e-4 of each."""
    pairs = zip(values, expected, strict=False)
    return len(values) == len(expected) and all(math.isclose(one, other, rel_tol=1e-4) for one, other in pairs)


def has_ratio_pairs(cfg: CfgNode) -> bool:
    """Whether an entry of MODEL.PRIORS.ASPECT_RATIOS gives both of its ratios, where other projects add the inverse."""
    return any(isinstance(ratio, Sequence) for ratios in cfg.MODEL.PRIORS.ASPECT_RATIOS for ratio in ratios)


def rounded(values: Iterable[float]) -> list[float]:
    """Numbers to write into a sentence."""
    return [round(float(value), 6) for value in values]
