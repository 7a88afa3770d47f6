"""Detection of the format of a dataset folder."""

from pathlib import Path

from ssd.data.datasets.coco import find_coco
from ssd.data.datasets.csv_table import find_csv
from ssd.data.datasets.folders import Layout
from ssd.data.datasets.paths import list_names, names_in, require_path
from ssd.data.datasets.voc import find_voc
from ssd.data.datasets.yolo import find_yolo
from ssd.utils.errors import ConfigError

# Search of each format, and the layout that it finds.
_SEARCHES = (
    (find_voc, "VOC: Annotations/*.xml with JPEGImages/ or images/, or .xml files beside images"),
    (
        find_coco,
        "COCO: a .json with images, annotations and categories, here, in annotations/ or in train/, valid/, test/",
    ),
    (find_yolo, "YOLO: data.yaml or obj.data, or classes.txt with images/ and labels/ or .txt files beside images"),
    (find_csv, "CSV: a .csv with columns for file, box (xmin, ymin, xmax, ymax) and class"),
)


def find_layout(root: Path) -> Layout:
    """Return the dataset in a folder. Only names and the beginnings of files are read."""
    require_path(root, "dataset folder")
    if not root.is_dir():
        raise ConfigError(f"{root} is a file; ROOT is the folder of a dataset, or add its FORMAT")
    found = [layout for search, _ in _SEARCHES if (layout := search(root)) is not None]
    if len(found) == 1:
        return found[0]
    if found:
        titles = "; ".join(f"{layout.title} in {layout.where}" for layout in found)
        raise ConfigError(
            f"{root} holds datasets in {len(found)} formats: {titles}. Name the FORMAT, or a folder with one"
        )
    listing = list_names([name + "/" * (root / name).is_dir() for name in names_in(root, limit=1000)])
    searches = "".join(f"\n  {text}" for _, text in _SEARCHES)
    raise ConfigError(f"{root}: no dataset found. It holds: {listing}. Looked for{searches}")
