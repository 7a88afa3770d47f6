"""Write rendered scenes as a dataset in Pascal VOC layout, or as plain sample images."""

import json
import logging
import os
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import cv2
import numpy as np

from ssd.tools.data.scenes.render import SceneObject, render_scene
from ssd.tools.data.writers import make_xml
from ssd.utils.errors import DatasetError
from ssd.utils.files import atomic_write, write_json, write_text

logger = logging.getLogger(__name__)

# Scene numbers of each use: a test scene is never a training scene, for any number of scenes.
_FIRST_TRAIN, _FIRST_TEST, _FIRST_SAMPLE = 1, 500_001, 900_001
_MAX_SCENES = 99_999
_MIN_SIDE, _MAX_SIDE = 64, 4096

_PARAMETERS_FILE = "scenes.json"
_FORMAT = 1  # raised when the same parameters begin to give other scenes
_JPEG_QUALITY = 90
_NUM_SAMPLES, _SAMPLE_SIZE = 6, (320, 240)
_SAMPLE_JPEG_QUALITY = 85  # the samples are part of the repository, with less than 80 kB each


def write_scenes(
    root: str | os.PathLike[str], *, num_train: int, num_test: int, image_size: tuple[int, int], seed: int
) -> None:
    """Write a dataset of rendered scenes in Pascal VOC layout, with the splits ``trainval`` and ``test``.

    A complete set with the same parameters is kept, an interrupted one is rendered again. The split files are written
    last, so a set that can be read is complete. ``root`` is a new or empty folder, or one that this function wrote;
    ``image_size`` is (width, height) in pixels.
    """
    _check_parameters(num_train, num_test, image_size, seed)
    root = Path(root)
    splits = {
        "trainval": range(_FIRST_TRAIN, _FIRST_TRAIN + num_train),
        "test": range(_FIRST_TEST, _FIRST_TEST + num_test),
    }
    split_files = {name: root / "ImageSets" / "Main" / f"{name}.txt" for name in splits}
    _claim_folder(root, {"format": _FORMAT, "seed": seed, "train": num_train, "test": num_test, "size": [*image_size]})
    if all(path.exists() for path in split_files.values()):
        logger.info("%s is complete already", root)
        return
    logger.info("Rendering %d training and %d test scenes to %s", num_train, num_test, root)
    for folder in ("Annotations", "ImageSets/Main", "JPEGImages"):
        (root / folder).mkdir(parents=True, exist_ok=True)
    for number in [*splits["trainval"], *splits["test"]]:
        image, objects = render_scene(seed, number, image_size)
        _write_jpeg(root / f"JPEGImages/{number:06d}.jpg", image, _JPEG_QUALITY)
        annotation = _make_annotation(f"{number:06d}.jpg", image_size, objects)
        ElementTree.indent(annotation)
        (root / f"Annotations/{number:06d}.xml").write_bytes(ElementTree.tostring(annotation) + b"\n")
    for name, numbers in splits.items():
        write_text(split_files[name], "".join(f"{number:06d}\n" for number in numbers))


def write_samples(folder: str | os.PathLike[str], *, seed: int) -> None:
    """Write six scenes that are in no dataset as ``scene_1.jpg`` to ``scene_6.jpg``, without annotations."""
    _check_parameters(1, 1, _SAMPLE_SIZE, seed)
    Path(folder).mkdir(parents=True, exist_ok=True)
    for index in range(_NUM_SAMPLES):
        image, _ = render_scene(seed, _FIRST_SAMPLE + index, _SAMPLE_SIZE)
        _write_jpeg(Path(folder) / f"scene_{index + 1}.jpg", image, _SAMPLE_JPEG_QUALITY)


def _make_annotation(filename: str, image_size: tuple[int, int], objects: list[SceneObject]) -> ElementTree.Element:
    """The VOC annotation; its corners count from 1 and include the last row and column."""
    size = [("width", image_size[0]), ("height", image_size[1]), ("depth", 3)]
    fields: list[tuple[str, object]] = [("folder", "scenes"), ("filename", filename), ("size", size), ("segmented", 0)]
    for found in objects:
        xmin, ymin, xmax, ymax = found.box
        corners = [("xmin", xmin + 1), ("ymin", ymin + 1), ("xmax", xmax), ("ymax", ymax)]
        flags = [("truncated", int(found.is_truncated)), ("difficult", int(found.is_difficult))]
        fields.append(("object", [("name", found.name), ("pose", "Unspecified"), *flags, ("bndbox", corners)]))
    return make_xml("annotation", fields)


def _write_jpeg(path: Path, image: np.ndarray, quality: int) -> None:
    is_encoded, buffer = cv2.imencode(".jpg", image[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, quality])
    assert is_encoded
    with atomic_write(path, flush=False) as file:
        file.write(buffer.tobytes())


def _check_parameters(num_train: int, num_test: int, image_size: tuple[int, int], seed: int) -> None:
    if not (1 <= num_train <= _MAX_SCENES and 1 <= num_test <= _MAX_SCENES):
        raise DatasetError(f"scenes: each split has 1 to {_MAX_SCENES} images, not {num_train}, {num_test}")
    if not all(_MIN_SIDE <= side <= _MAX_SIDE for side in image_size):
        size = "x".join(map(str, image_size))
        raise DatasetError(f"scenes: the image size must be {_MIN_SIDE} to {_MAX_SIDE} per side, not {size}")
    if seed < 0:
        raise DatasetError(f"scenes: the seed must not be negative, but is {seed}")


def _claim_folder(root: Path, parameters: dict[str, Any]) -> None:
    """Write the parameters into the folder, or raise if it contains anything but scenes with the same ones."""
    remedy = "remove the folder or choose another --output"
    path = root / _PARAMETERS_FILE
    if path.exists():
        found, wanted = path.read_text(encoding="utf-8", errors="replace"), json.dumps(parameters)
        if found != wanted:
            raise DatasetError(f"{path}: scenes with other parameters, {found} instead of {wanted}: {remedy}")
        return
    if root.exists() and (not root.is_dir() or any(root.iterdir())):
        raise DatasetError(f"{root} exists and has no rendered scenes ({_PARAMETERS_FILE} is missing): {remedy}")
    root.mkdir(parents=True, exist_ok=True)
    write_json(path, parameters)
