"""The interface of a format, and renaming of tensors."""

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from ssd.modeling.backbone.pretrained import StateDict
from ssd.utils.errors import CheckpointError

_MAX_LISTED = 5


class Converted(NamedTuple):
    """A detector of another project in the terms of this library.

    Attributes:
        weights: State dict in our names and layouts: background is class 0, header channels are (prior, class), the
            priors of a cell are ordered as PriorBox orders them.
        config: Path in configs/, without suffix, of the config that builds the network.
        overrides: ``(KEY, VALUE, ...)`` for the settings that differ from this config. MODEL.NUM_CLASSES is taken
            from the weights.
        class_names: Names without background; None if the file does not name its classes.
        notes: Sentences for the user about this file.
    """

    weights: StateDict
    config: str
    overrides: tuple[Any, ...] = ()
    class_names: tuple[str, ...] | None = None
    notes: tuple[str, ...] = ()


class Format(NamedTuple):
    """A kind of foreign checkpoint.

    Attributes:
        name: Name for ``ssd convert --from``.
        title: Name in messages.
        marks: Regular expressions. A file has this format if each of them matches the beginning of a tensor name.
        convert: Function of the weights and of the whole content of the file, with its name as "file_name". Raises
            CheckpointError if they are not those of this format.
    """

    name: str
    title: str
    marks: tuple[str, ...]
    convert: Callable[[StateDict, Mapping[str, Any]], Converted]

    def recognises(self, names: Sequence[str]) -> bool:
        """Return whether a file with these tensor names has this format."""
        return not self.missing_marks(names)

    def missing_marks(self, names: Sequence[str]) -> list[str]:
        """Return the marks that match no name: the reason why a file does not have this format."""
        return [mark for mark in self.marks if not any(re.match(mark, name) for name in names)]


def rename(weights: StateDict, rules: Sequence[tuple[str, str]], *, dropped: Sequence[str] = ()) -> StateDict:
    """Rename tensors.

    Args:
        weights: Tensors under foreign names.
        rules: (regular expression, replacement for ``re.sub``). The first rule that matches a whole name is applied.
        dropped: Regular expressions for whole names that this library does not need.

    Raises:
        CheckpointError: A name matches neither.
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
