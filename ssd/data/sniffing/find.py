"""The search for the format of a folder."""

import os
from collections.abc import Callable
from itertools import islice
from pathlib import Path

from ssd.data.datasets.paths import require_path
from ssd.data.sniffing.coco import find_coco
from ssd.data.sniffing.layout import Layout
from ssd.data.sniffing.tables import find_csv
from ssd.data.sniffing.voc import find_voc
from ssd.data.sniffing.yolo import find_yolo
from ssd.utils.errors import ConfigError

# what is looked for, and the search
_SEARCHES: tuple[tuple[str, Callable[[Path], Layout | None]], ...] = (
    ("VOC: Annotations/*.xml with JPEGImages/ or images/, or .xml files beside images", find_voc),
    (
        "COCO: a .json with images, annotations and categories, here, in annotations/ or in train/, valid/, test/",
        find_coco,
    ),
    ("YOLO: data.yaml or obj.data, or classes.txt with images/ and labels/ or .txt files beside images", find_yolo),
    ("CSV: a .csv with columns for file, box (xmin, ymin, xmax, ymax) and class", find_csv),
)


def find_layout(root: Path) -> Layout:
    """Return what dataset lies in a folder; only names, and the beginnings of files, are read.

    Raises:
        MissingPathError: the folder does not exist.
        ConfigError: no format is found there, or several are.
    """
    require_path(root, "dataset folder")
    if not root.is_dir():
        raise ConfigError(f"{root} is a file; ROOT is the folder of a dataset, or add its FORMAT")
    found = [layout for _, search in _SEARCHES if (layout := search(root)) is not None]
    if len(found) == 1:
        return found[0]
    if found:
        titles = "; ".join(f"{layout.title} in {layout.where}" for layout in found)
        raise ConfigError(
            f"{root} holds datasets in {len(found)} formats: {titles}. Name the FORMAT, or a folder with one"
        )
    with os.scandir(root) as entries:
        names = sorted(entry.name + "/" * entry.is_dir() for entry in islice(entries, 1000))
    listing = ", ".join(names[:10]) + (", ..." if len(names) > 10 else "")
    searches = "".join(f"\n  {text}" for text, _ in _SEARCHES)
    raise ConfigError(f"{root}: no dataset found. It holds: {listing or 'nothing'}. Looked for{searches}")
