"""Checkpoints in the folder of a run: the last one, a substitute for a damaged one, and old ones to remove."""

import logging
import os
import re
from pathlib import Path
from typing import Any

from ssd.utils.checkpoint_file import SAFETENSORS, nearest_checkpoints, read_checkpoint
from ssd.utils.errors import CheckpointError
from ssd.utils.files import atomic_write

logger = logging.getLogger(__name__)

TAG_FILE = "last_checkpoint.txt"
BEST = "model_best"

_NUMBERED = re.compile(r"model_(\d+)\.pth")


def has_checkpoint(folder: str | os.PathLike[str]) -> bool:
    """Whether a folder names a checkpoint to continue from; an empty name is no folder."""
    return bool(os.fspath(folder)) and Path(folder, TAG_FILE).is_file()


def tag_checkpoint(folder: str | os.PathLike[str], path: str) -> None:
    """Make ``path`` the checkpoint that a later run continues from."""
    with atomic_write(Path(folder, TAG_FILE)) as file:
        file.write(path.encode())


def last_checkpoint(folder: str | os.PathLike[str]) -> Path | None:
    """Return the checkpoint that a folder names, or None; raise CheckpointError if the file does not exist."""
    if not has_checkpoint(folder):
        return None
    tag = Path(folder, TAG_FILE)
    written = tag.read_text(encoding="utf-8", errors="replace").strip().replace("\0", "")
    beside = tag.parent / Path(written).name  # the folder itself if nothing is written
    # The file beside the tag comes first: the folder may have been copied or moved since the path was written.
    for path in (beside, Path(written)):
        if path.is_file():
            return path
    raise CheckpointError(
        f"{tag} names {written!r}, which does not exist{nearest_checkpoints(tag.with_name(beside.name))}; "
        "write the name of another one into that file, or delete it to start from the beginning"
    )


def read_last(folder: str | os.PathLike[str]) -> tuple[Path, dict[str, Any]] | None:
    """Read the checkpoint that a folder names or, if it is damaged, the newest intact one before it, with a warning.

    Returns:
        Path and content; None if the folder names none.

    Raises:
        CheckpointError: None of them can be read.
    """
    last = last_checkpoint(folder)
    if last is None:
        return None
    earlier = _earlier_checkpoints(last)
    for path in (last, *earlier):
        try:
            checkpoint = read_checkpoint(path)
        except CheckpointError as error:
            if not earlier:
                raise
            logger.warning("%s", error)
            continue
        if path != last:
            logger.warning("Using %s in its place", path)
        return path, checkpoint
    raise CheckpointError(
        f"{last} cannot be read, nor {', '.join(path.name for path in earlier)} beside it; "
        f"fetch one of them again, or delete {last.parent / TAG_FILE} to start from the beginning"
    )


def remove_old(folder: str | os.PathLike[str], keep: int) -> None:
    """Remove all but the ``keep`` newest checkpoints model_XXXXXX, with their safetensors files, and the last one."""
    last = last_checkpoint(folder)
    for path in _numbered(Path(folder))[keep:]:
        if path != last:
            path.unlink(missing_ok=True)
            path.with_suffix(SAFETENSORS).unlink(missing_ok=True)


def _earlier_checkpoints(last: Path) -> list[Path]:
    """Return the checkpoints that can replace the last one, best choice first."""
    numbered = [path for path in _numbered(last.parent) if path != last]
    if _NUMBERED.fullmatch(last.name):
        numbered = [path for path in numbered if _number(path) < _number(last)]
    best = last.with_name(f"{BEST}.pth")
    return [*numbered, *([best] if best.is_file() and best != last else [])]


def _numbered(folder: Path) -> list[Path]:
    """Return the checkpoints model_XXXXXX of a folder, newest first."""
    return sorted((path for path in folder.glob("model_*.pth") if _NUMBERED.fullmatch(path.name)), key=_number)[::-1]


def _number(path: Path) -> int:
    return int(path.stem.removeprefix("model_"))
