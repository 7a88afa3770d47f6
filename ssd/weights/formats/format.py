"""The interface of a format, and renaming of tensors."""

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from ssd.modeling.backbone.pretrained import StateDict
from ssd.utils.errors import CheckpointError, join_some


class Converted(NamedTuple):
    """A detector of another project in the terms of this library."""

    # Our names and layouts: background is class 0, header channels are (prior, class), priors in the order of PriorBox.
    weights: StateDict
    config: str  # path in configs/, without suffix, of the config that builds the network
    overrides: tuple[Any, ...] = ()  # (KEY, VALUE, ...) that differ from it; not NUM_CLASSES, known from the weights
    class_names: tuple[str, ...] | None = None  # without background; None if the file does not name its classes
    notes: tuple[str, ...] = ()  # sentences for the user about this file


class Format(NamedTuple):
    """A kind of foreign checkpoint."""

    name: str  # for ``ssd convert --from``
    title: str  # name in messages
    marks: tuple[str, ...]  # regular expressions, each of which matches the beginning of a tensor name
    # Takes the weights, and the content of the file with its name as "file_name"; CheckpointError if they do not fit.
    convert: Callable[[StateDict, Mapping[str, Any]], Converted]

    def recognises(self, names: Sequence[str]) -> bool:
        """Return whether a file with these tensor names has this format."""
        return not self.missing_marks(names)

    def missing_marks(self, names: Sequence[str]) -> list[str]:
        """Return the marks that match no name: the reason why a file does not have this format."""
        return [mark for mark in self.marks if not any(re.match(mark, name) for name in names)]


def require(weights: Mapping[str, Any], *names: str) -> None:
    """Raise CheckpointError if one of these tensors is missing."""
    for name in names:
        if name not in weights:
            raise CheckpointError(f"missing tensor: {name}")


def rename(weights: StateDict, rules: Sequence[tuple[str, str]], *, dropped: Sequence[str] = ()) -> StateDict:
    """Rename tensors by the first of ``rules`` that matches a whole name: (regular expression, replacement for re.sub).

    Names that match one of ``dropped`` are left out; any other is a CheckpointError.
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
        raise CheckpointError(f"unexpected tensors: {join_some(unexpected, 5)}")
    return renamed
