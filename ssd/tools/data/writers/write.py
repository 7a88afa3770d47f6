"""A dataset as a folder that is either complete or not there."""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ssd.tools.data.writers import coco, csv_table, voc, yolo
from ssd.tools.data.writers.content import Content
from ssd.utils.errors import OutputError, os_errors_as

# name -> (folder of the images, writer of the annotations, entry of a part)
_WRITERS = {
    "voc": (voc.IMAGE_FOLDER, voc.write_voc, voc.voc_entry),
    "coco": (coco.IMAGE_FOLDER, coco.write_coco, coco.coco_entry),
    "yolo": (yolo.IMAGE_FOLDER, yolo.write_yolo, yolo.yolo_entry),
    "csv": (csv_table.IMAGE_FOLDER, csv_table.write_csv, csv_table.csv_entry),
}
FORMATS = tuple(_WRITERS)


@dataclass(frozen=True)
class Written:
    """What was written.

    Attributes:
        entries: for DATASETS.CUSTOM, by the name of the part.
        notes: a sentence for each thing that the format does not hold.
    """

    entries: dict[str, dict[str, Any]]
    notes: list[str]


def write_dataset(folder: Path, content: Content, format_name: str, *, link: bool = False) -> Written:
    """Write a dataset to a new folder.

    Boxes read back as the same float32 numbers. Nothing is left behind by an error.

    Args:
        folder: to be made; an empty one will do.
        content: what is written.
        format_name: one of FORMATS.
        link: let symbolic links stand for the images, not copies.

    Raises:
        OutputError: the folder holds something, or cannot be written.
    """
    image_folder, write, make_entry = _WRITERS[format_name]
    with _new_folder(folder) as draft:
        (draft / image_folder).mkdir()
        for record in content.records:
            target = draft / image_folder / record.name
            if link:
                target.symlink_to(record.path.resolve())
            else:
                shutil.copyfile(record.path, target)
        notes = write(draft, content)
    entries = {part: make_entry(folder, part) for part in content.parts}
    if format_name in ("voc", "csv") and _needs_class_names(content):
        entries = {part: {**entry, "CLASSES": list(content.class_names)} for part, entry in entries.items()}
    return Written(entries, notes)


def _needs_class_names(content: Content) -> bool:
    """Whether the annotations of a part do not say all classes in their order."""
    for rows in content.parts.values():
        labels = {label for row in rows for label in content.records[row].labels.tolist()}
        if len(labels) < len(content.class_names):
            return True
    return list(content.class_names) != sorted(content.class_names)


@contextmanager
def _new_folder(folder: Path) -> Iterator[Path]:
    """A folder beside ``folder`` that takes its place when the block has ended without an error."""
    check_output_folder(folder)
    draft = folder.parent / f".{folder.name}.{os.getpid()}.tmp"
    with os_errors_as(OutputError, folder):
        try:
            draft.mkdir(parents=True)
            yield draft
            if folder.is_dir():
                folder.rmdir()
            os.replace(draft, folder)
        finally:
            shutil.rmtree(draft, ignore_errors=True)


def check_output_folder(folder: Path) -> None:
    """Raise an OutputError if a folder holds something."""
    if os.path.lexists(folder) and (not folder.is_dir() or any(folder.iterdir())):
        raise OutputError(f"{folder} exists and is not empty; name a new folder")
