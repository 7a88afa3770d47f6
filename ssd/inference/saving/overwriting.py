"""Outputs must not replace the images they were made from."""

import glob
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from ssd.utils.errors import OutputError


def refuse_source_folders(outputs: Mapping[str, Path | None], sources: Sequence[str]) -> None:
    """Raise OutputError if an output folder is one that sources lie in: names of outputs are those of sources.

    Args:
        outputs: folders by the option that named them; None = not written.
        sources: files, folders, glob patterns; anything else is passed over.
    """
    resolved = {folder.resolve(): (option, folder) for option, folder in outputs.items() if folder}
    for source in sources:
        for place in _folders_of(source):
            if found := resolved.get(Path(place).resolve()):
                option, folder = found
                raise OutputError(f"{option} {folder} is the folder of the images themselves; name another one")


def _folders_of(source: str) -> Iterator[str]:
    if os.path.isdir(source):
        yield source
    elif os.path.isfile(source):
        yield os.path.dirname(source)
    elif glob.has_magic(source):
        yield from {os.path.dirname(match) for match in glob.iglob(source, recursive=True)}
