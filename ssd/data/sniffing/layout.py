"""A dataset that was found in a folder."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ssd.utils.errors import ConfigError

# Spellings of the three usual splits, years and separators aside.
_KINDS = {
    "train": ("train", "training"),
    "val": ("val", "valid", "validation", "dev"),
    "test": ("test", "testing"),
}


@dataclass(frozen=True)
class Layout:
    """What was found.

    Attributes:
        title: the format in a word.
        where: what of it was found, for a message.
        entries: an entry for DATASETS.CUSTOM by split; under None, of the whole folder, where nothing divides it.
    """

    title: str
    where: str
    entries: Mapping[str | None, Mapping[str, Any]]

    @property
    def splits(self) -> list[str]:
        """Names of the splits; empty = it is not divided."""
        return [split for split in self.entries if split is not None]

    def choose_split(self, split: str | None) -> str | None:
        """Return the name here of a split: train is also train2017, val also valid.

        Args:
            split: as the user calls it; None is the only one, or all where nothing divides the folder.

        Raises:
            ConfigError: there is none, or are several of this name; or none is named and there are several.
        """
        known = ", ".join(self.splits)
        if split is None:
            if len(self.entries) > 1:
                raise ConfigError(f"SPLIT is missing: {self.where} ({self.title}) has the splits {known}")
            return next(iter(self.entries))
        if split in self.entries:
            return split
        if not self.splits:
            raise ConfigError(
                f"SPLIT is {split!r}, but {self.where} ({self.title}) has no splits; leave SPLIT out for all of it, or "
                "divide it with ssd data split"
            )
        found = [name for name in self.splits if kind_of_split(name) == kind_of_split(split)]
        if len(found) != 1:
            raise ConfigError(f"SPLIT is {split!r}, but {self.where} ({self.title}) has the splits {known}")
        return found[0]


def kind_of_split(name: str) -> str:
    """Return train, val or test for their spellings; other names in lower case without years and separators."""
    plain = re.sub(r"(19|20)\d\d|[-_. ]", "", name.lower())
    return next((kind for kind, spellings in _KINDS.items() if plain in spellings), plain)
