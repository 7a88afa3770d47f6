"""The checkpoints of a run's folder: which is the last, which are whole, which may go."""

import logging
import os
import re
from pathlib import Path
from typing import Any

from ssd.utils.atomic import atomic_write
from ssd.utils.checkpoint_file import nearest_checkpoints, read_checkpoint
from ssd.utils.errors import CheckpointError
from ssd.utils.safetensors_file import SUFFIX

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
    """Return the checkpoint that a folder names, or None.

    Raises:
        CheckpointError: it names a file that does not exist.
    """
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
        "write the name of another one into that file, or delete it to start anew"
    )


def read_last(folder: str | os.PathLike[str]) -> tuple[Path, dict[str, Any]] | None:
    """Read the checkpoint that a folder names or, where that is damaged, the newest one before it that is not.

    Returns:
        Its path and content; None if the folder names none. A warning tells of each damaged one.

    Raises:
        CheckpointError: none of them can be read.
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
        f"{last} cannot be read, and none of {', '.join(path.name for path in earlier)} beside it either; "
        f"fetch one of them again, or delete {last.parent / TAG_FILE} to start anew"
    )


def remove_old(folder: str | os.PathLike[str], keep: int) -> None:
    """Remove all but the ``keep`` newest of the checkpoints model_XXXXXX, with the weights written beside them.

    The one that the folder names stays.
    """
    last = last_checkpoint(folder)
    for path in _numbered(Path(folder))[keep:]:
        if path != last:
            path.unlink(missing_ok=True)
            path.with_suffix(SUFFIX).unlink(missing_ok=True)


def _earlier_checkpoints(last: Path) -> list[Path]:
    """The other checkpoints of a folder that may stand in for its last one, the best choice first."""
    numbered = [path for path in _numbered(last.parent) if path != last]
    if _NUMBERED.fullmatch(last.name):
        numbered = [path for path in numbered if _number(path) < _number(last)]
    best = last.with_name(f"{BEST}.pth")
    return [*numbered, *([best] if best.is_file() and best != last else [])]


def _numbered(folder: Path) -> list[Path]:
    """The checkpoints model_XXXXXX of a folder, newest first."""
    return sorted((path for path in folder.glob("model_*.pth") if _NUMBERED.fullmatch(path.name)), key=_number)[::-1]


def _number(path: Path) -> int:
    return int(path.stem.removeprefix("model_"))
