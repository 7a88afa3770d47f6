"""Readers of the damaged files: datasets under each policy, everything that is then asked of them, and configs.

``read`` of a target yields steps that must succeed or raise an error of ours.
"""

import contextlib
import json
from collections.abc import Callable, Iterator
from pathlib import Path

import cv2
import numpy as np

from ssd.config import cfg, load_config, parse_config
from ssd.data import build_datasets
from ssd.data.datasets import COCODataset, DetectionDataset, VOCDataset
from ssd.data.datasets.paths import MissingPathError
from ssd.data.datasets.policy import ErrorPolicy, SkipErrors
from ssd.data.samples import TrainingSamples
from ssd.evaluation import eval_detection_coco
from ssd.tools.data.check import CollectErrors, check_images, count_objects

ROOT = Path(__file__).parents[2]
POLICIES = (ErrorPolicy, SkipErrors, CollectErrors)

_OBJECT = """<object><name>{}</name><pose>Left</pose><difficult>{}</difficult>
<bndbox><xmin>{}</xmin><ymin>{}</ymin><xmax>{}</xmax><ymax>{}</ymax></bndbox></object>
"""
VOC_XML = (
    '<?xml version="1.0" encoding="utf-8"?>\n<annotation><folder>VOC</folder><filename>a.png</filename>\n'
    "<size><width>40</width><height>30</height><depth>3</depth></size>\n"
    + _OBJECT.format("cat", 0, 1, 2, 20, 25)
    + _OBJECT.format("dog", 1, 10.5, 2, 40, 30)
    + "</annotation>"
).encode()
COCO_JSON = json.dumps(
    {
        "info": {"year": 2017},
        "images": [{"id": i, "file_name": f"{n}.png", "width": 40, "height": 30} for i, n in ((7, "a"), (9, "b"))],
        "annotations": [
            {"id": 1, "image_id": 7, "category_id": 2, "bbox": [1, 2, 20.5, 9], "area": 184.5, "iscrowd": 0},
            {"id": 2, "image_id": 7, "category_id": 3, "bbox": [10, 2, 9, 20], "area": 180, "iscrowd": 1},
            {"id": 3, "image_id": 9, "category_id": 3, "bbox": [0, 0, 40, 30], "area": 1200, "iscrowd": 0},
        ],
        "categories": [{"id": 2, "name": "cat"}, {"id": 3, "name": "dog", "supercategory": "animal"}],
    },
    indent=1,
).encode()


def config_texts() -> list[bytes]:
    """Some shipped configs, and the defaults written out."""
    paths = sorted((ROOT / "configs").rglob("*.yaml"))
    own = "DATASETS: {TRAIN: [a], CUSTOM: {a: {FORMAT: voc, ROOT: nowhere, SPLIT: x, CLASSES: [b]}}}\n"
    anchors = "SOLVER: &s {LR: 0.1}\nTEST: {BATCH_SIZE: 3}\n_BASE_: base.yaml\n"
    return [*(path.read_bytes() for path in paths), cfg.dump().encode(), own.encode(), anchors.encode()]


class VOCTarget:
    """A VOC folder of two images of which one has the damaged annotation."""

    kind = "xml"

    def __init__(self, folder: Path):
        self.folder = folder
        for name in ("Annotations", "ImageSets/Main", "JPEGImages"):
            (folder / name).mkdir(parents=True)
        _write_images(folder / "JPEGImages")
        (folder / "ImageSets/Main/train.txt").write_text("a\nb\n")
        (folder / "Annotations/b.xml").write_bytes(VOC_XML)

    def seeds(self) -> list[bytes]:
        return [VOC_XML]

    def read(self, data: bytes) -> Iterator[Callable[[], object]]:
        (self.folder / "Annotations/a.xml").write_bytes(data)
        for names in (None, ("__background__", "cat", "dog")):
            for policy in POLICIES:
                yield lambda names=names, policy=policy: use(
                    VOCDataset(self.folder, "train", class_names=names, policy=policy())
                )


class SplitTarget(VOCTarget):
    """The same with a damaged list of images."""

    kind = "yaml"  # lines of text

    def seeds(self) -> list[bytes]:
        return [b"- a\n- b\n", b"a\nb\n"]

    def read(self, data: bytes) -> Iterator[Callable[[], object]]:
        (self.folder / "Annotations/a.xml").write_bytes(VOC_XML)
        (self.folder / "ImageSets/Main/train.txt").write_bytes(data)
        for policy in POLICIES:
            yield lambda policy=policy: use(VOCDataset(self.folder, "train", policy=policy()))


class COCOTarget:
    """A folder of two images with a damaged annotation file."""

    kind = "json"

    def __init__(self, folder: Path):
        self.folder = folder
        folder.mkdir()
        _write_images(folder)

    def seeds(self) -> list[bytes]:
        return [COCO_JSON]

    def read(self, data: bytes) -> Iterator[Callable[[], object]]:
        path = self.folder / "a.json"
        path.write_bytes(data)
        for names in (None, ("__background__", "dog", "cat")):
            for policy in POLICIES:
                yield lambda names=names, policy=policy: use(
                    COCODataset(self.folder, path, class_names=names, policy=policy())
                )


class ConfigTarget:
    """A damaged config that is loaded, written out and loaded again; and its datasets."""

    kind = "yaml"

    def __init__(self, folder: Path):
        self.folder = folder
        folder.mkdir()
        (folder / "base.yaml").write_text("SOLVER: {LR: 0.5}\n")

    def seeds(self) -> list[bytes]:
        return config_texts()

    def read(self, data: bytes) -> Iterator[Callable[[], object]]:
        path = self.folder / "damaged.yaml"
        path.write_bytes(data)
        yield lambda: self._use(path)
        text = data.decode("utf-8", errors="replace")
        words = text.split(None, 7)
        yield lambda: load_config(None, words)
        for key in ("SOLVER.LR", "DATASETS.TRAIN", "DATASETS.CUSTOM.x", "MODEL.PRIORS", "INPUT.IMAGE_SIZE"):
            yield lambda key=key: load_config(None, [key, text[-60:]])

    def _use(self, path: Path) -> None:
        config = load_config(path)
        parse_config(config.dump(), "its dump")
        for is_train in (True, False):
            with contextlib.suppress(MissingPathError):  # the configs' own sets are not there
                build_datasets(config, is_train)


def use(dataset: DetectionDataset) -> None:
    """Ask a dataset for everything."""
    count_objects(dataset)
    check_images(dataset, "fuzz")
    samples = TrainingSamples([dataset], (16, 16), seed=0, skip_bad=True)
    for row in range(len(dataset)):
        dataset.get_annotation(row)
        samples[row, row]
        dataset[row]
    if isinstance(dataset, COCODataset):
        image_ids = [dataset.get_annotation(row)[0] for row in range(len(dataset))]
        eval_detection_coco(dataset.coco, [], image_ids, list(dataset.contiguous_id_to_coco_id.values()))


def _write_images(folder: Path) -> None:
    for seed, name in enumerate("ab"):
        noise = np.random.default_rng(seed).integers(0, 256, (30, 40, 3), np.uint8)
        assert cv2.imwrite(str(folder / f"{name}.png"), noise)


TARGETS = {"voc": VOCTarget, "split": SplitTarget, "coco": COCOTarget, "config": ConfigTarget}
