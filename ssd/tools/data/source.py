"""Dataset that a command of `ssd data` reads: a folder, an entry of a config, or a name of the catalogue."""

import logging
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ssd.config import load_config
from ssd.data.build import unite_class_names
from ssd.data.catalog import dataset_names, make_dataset
from ssd.data.datasets import DetectionDataset
from ssd.data.datasets.find import find_layout, images_of
from ssd.data.datasets.folders import is_usual_split, kind_of_split
from ssd.tools.data.split import choose_roles
from ssd.utils.errors import ConfigError

logger = logging.getLogger(__name__)


def open_datasets(
    source: str,
    *,
    config_file: str | None = None,
    split: str | None = None,
    format_name: str | None = None,
    on_error: str = "raise",
) -> tuple[dict[str, DetectionDataset], str]:
    """Open the datasets of a folder, of CONFIG.yaml:NAME, or of a name that ``config_file`` or the catalogue has.

    ``split`` None is all splits of the folder, ``format_name`` None is detected. Return the datasets by split, all of
    the same classes, and the name of the format of the first.
    """
    name = source
    path, colon, after_colon = source.rpartition(":")
    if os.path.isdir(source):
        layout = find_layout(Path(source), format_name)
        chosen = list(layout.entries) if split is None else [layout.choose_split(split)]
        logger.info("%s: %s, %s", source, layout.title, ", ".join(part or "no splits" for part in chosen))
        entries = {part or "all": layout.entries[part] for part in chosen}
    else:
        if config_file is None and colon and path.endswith((".yaml", ".yml")):
            config_file, name = path, after_colon
        custom = load_config(config_file).DATASETS.CUSTOM if config_file else {}
        if name not in custom and name not in dataset_names():
            known = ", ".join([*custom, *dataset_names()[:3]])
            raise ConfigError(
                f"{source}: no folder, and no name of a dataset ({known}, ...); name a folder, CONFIG.yaml:NAME, or "
                "--config-file and a name"
            )
        if split is not None or format_name is not None:
            option = "--split chooses a part" if split is not None else "--format chooses the annotations"
            raise ConfigError(f"{option} of a folder, and {source} is the name of a dataset")
        entries = {name: custom.get(name, {})}
    datasets = {
        part: make_dataset(part, {part: entry} if entry else {}, is_train=False, on_error=on_error)
        for part, entry in entries.items()
    }
    unite_class_names(list(datasets), list(datasets.values()))
    return datasets, _format_of(next(iter(entries.values())), name)


def folder_overrides(folder: Path, format_name: str | None = None) -> list[Any]:
    """Return overrides of DATASETS for the splits of a folder; ``format_name`` None is detected.

    Splits such as val and test are TEST, the others are TRAIN, see ``choose_roles``.
    """
    entries = find_layout(folder, format_name).entries
    custom = {split or "all": dict(entry) for split, entry in entries.items()}
    is_usual = all(map(is_usual_split, custom)) and len(set(map(kind_of_split, custom))) == len(custom)
    parts = {name: set() if is_usual else images_of(entry) for name, entry in custom.items()}
    train, test = choose_roles(parts)
    if unused := [name for name in custom if name not in (*train, *test)]:
        used, rest = ", ".join(train + test), ", ".join(unused)
        logger.info("%s: not read, since their images are in %s: %s", folder, used, rest)
    return ["DATASETS.CUSTOM", custom, "DATASETS.TRAIN", train, "DATASETS.TEST", test]


def _format_of(entry: Mapping[str, Any], name: str) -> str:
    if "ROOT" in entry and "FORMAT" not in entry:
        return find_layout(Path(os.path.expanduser(entry["ROOT"]))).title.lower()
    return str(entry.get("FORMAT", "coco" if name.startswith("coco") else "voc"))
