"""Small datasets written to disk."""

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from ssd.config import Config, cfg


def _object_xml(name: str, box: Sequence[float], difficult: int | None = 0) -> str:
    corners = "".join(f"<{tag}>{v}</{tag}>" for tag, v in zip(("xmin", "ymin", "xmax", "ymax"), box, strict=True))
    flag = "" if difficult is None else f"<difficult>{difficult}</difficult>"
    return f"<object><name>{name}</name>{flag}<bndbox>{corners}</bndbox></object>"


@pytest.fixture
def write_voc(tmp_path: Path) -> Callable[..., Path]:
    """Write a VOC folder: {id: [(name, box[, difficult])] or the XML itself}; returns its root."""

    def write(images: Mapping[str, Any], *, root: str = "voc", split: str = "train", suffix: str = ".png") -> Path:
        folder = tmp_path / root
        for name in ("Annotations", "ImageSets/Main", "JPEGImages"):
            (folder / name).mkdir(parents=True, exist_ok=True)
        for number, (image_id, objects) in enumerate(images.items()):
            rng = np.random.default_rng(number)
            cv2.imwrite(str(folder / "JPEGImages" / f"{image_id}{suffix}"), rng.integers(0, 256, (30, 40, 3), np.uint8))
            xml = objects
            if not isinstance(objects, str):
                size = "<size><width>40</width><height>30</height><depth>3</depth></size>"
                xml = f"<annotation>{size}{''.join(_object_xml(*item) for item in objects)}</annotation>"
            (folder / "Annotations" / f"{image_id}.xml").write_text(xml, encoding="utf-8")
        (folder / "ImageSets" / "Main" / f"{split}.txt").write_text("\n".join(images) + "\n")
        return folder

    return write


@pytest.fixture
def write_coco(tmp_path: Path) -> Callable[..., tuple[Path, Path]]:
    """Write COCO annotations and their images, 40 x 30 pixels unless they say otherwise; returns (images, json)."""

    def write(content: Any, *, name: str = "train") -> tuple[Path, Path]:
        folder = tmp_path / "images"
        folder.mkdir(exist_ok=True)
        for image in content["images"]:
            shape = (image.get("height", 30), image.get("width", 40), 3)
            cv2.imwrite(str(folder / image["file_name"]), np.full(shape, 90, np.uint8))
        ann_file = tmp_path / f"{name}.json"
        ann_file.write_text(json.dumps(content))
        return folder, ann_file

    return write


@pytest.fixture
def make_cfg() -> Callable[..., Config]:
    """The defaults with a small input, no workers, and ``custom`` sets."""

    def make(custom: Mapping[str, Any] | None = None, **overrides: Any) -> Config:
        config = cfg.clone()
        for name, entry in (custom or {}).items():
            config.DATASETS.CUSTOM[name] = Config(entry)
        small = {"INPUT.IMAGE_SIZE": 32, "DATA_LOADER.NUM_WORKERS": 0, "SOLVER.BATCH_SIZE": 4, "SOLVER.MAX_ITER": 8}
        for key, value in {**small, **overrides}.items():
            config.merge_from_list([key, value])
        config.freeze()
        return config

    return make
