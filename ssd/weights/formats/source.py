"""What the library knows of a foreign kind of checkpoint."""

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from torch import Tensor

from ssd.utils.errors import CheckpointError

StateDict = dict[str, Tensor]

_MAX_LISTED = 5


class Converted(NamedTuple):
    """A foreign detector in the terms of this library.

    Attributes:
        weights: the state dict, in our names and layouts: background is class 0, header channels are (prior, class),
            the priors of a cell as PriorBox lays them out.
        config: the file in configs/ that builds it, without its suffix, such as "interop/torchvision_ssd300_coco".
        overrides: ``(KEY, VALUE, ...)`` of what the file has otherwise than that config. MODEL.NUM_CLASSES follows the
            weights without.
        class_names: without background; None = the file does not tell.
        notes: what a user should know of this file, a sentence each.
    """

    weights: StateDict
    config: str
    overrides: tuple[Any, ...] = ()
    class_names: tuple[str, ...] | None = None
    notes: tuple[str, ...] = ()


class Source(NamedTuple):
    """A kind of foreign checkpoint.

    Attributes:
        name: as ``ssd convert --from`` takes it.
        title: what messages call it.
        marks: regular expressions. Such a file has names of tensors that match each of them from the start.
        convert: maps the weights and the whole content of the file to ``Converted``; raises CheckpointError where they
            are not what it expects.
    """

    name: str
    title: str
    marks: tuple[str, ...]
    convert: Callable[[StateDict, Mapping[str, Any]], Converted]

    def recognises(self, names: Sequence[str]) -> bool:
        """Whether a file whose tensors have these names is of this kind."""
        return not self.missing_marks(names)

    def missing_marks(self, names: Sequence[str]) -> list[str]:
        """Return the marks that none of the names has."""
        return [mark for mark in self.marks if not any(re.match(mark, name) for name in names)]


def rename(weights: StateDict, rules: Sequence[tuple[str, str]], *, dropped: Sequence[str] = ()) -> StateDict:
    """Give tensors their names of this library.

    Args:
        weights: under their foreign names.
        rules: (regular expression, replacement as of ``re.sub``); the first that matches a whole name renames it.
        dropped: regular expressions of names, as a whole, that have no place here.

    Raises:
        CheckpointError: there are other names besides.
    """
    renamed: StateDict = {}
    unexpected: list[str] = []
    for name, value in weights.items():
        if any(re.fullmatch(pattern, name) for pattern in dropped):
            continue
        for pattern, replacement in rules:
            if match := re.fullmatch(pattern, name):
                renamed[match.expand(replacement)] = value
                break
        else:
            unexpected.append(name)
    if unexpected:
        rest = f" and {len(unexpected) - _MAX_LISTED} more" if len(unexpected) > _MAX_LISTED else ""
        raise CheckpointError(f"unexpected tensors: {', '.join(unexpected[:_MAX_LISTED])}{rest}")
    return renamed


def required(weights: StateDict, name: str) -> Tensor:
    """Return a tensor by its foreign name.

    Raises:
        CheckpointError: there is none.
    """
    if name not in weights:
        raise CheckpointError(f"missing tensor: {name}")
    return weights[name]
