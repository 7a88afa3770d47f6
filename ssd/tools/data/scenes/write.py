"""Writes rendered scenes to disk, in PASCAL VOC layout or as plain sample images."""

import json
import logging
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import cv2
import numpy as np

from ssd.tools.data.scenes.scene import SceneObject, render_scene
from ssd.utils.errors import DatasetError
from ssd.utils.files import atomic_write

logger = logging.getLogger(__name__)

# Scenes are numbered; each use has numbers of its own, so that no test scene is a training scene of any size of set.
FIRST_TRAIN, FIRST_TEST, FIRST_SAMPLE = 1, 500_001, 900_001
MAX_SCENES = 99_999
MIN_SIDE, MAX_SIDE = 64, 4096

_PARAMETERS_FILE = "scenes.json"
# Raised when the same parameters begin to give other scenes.
_FORMAT = 1
_JPEG_QUALITY = 90
_NUM_SAMPLES, _SAMPLE_SIZE = 6, (320, 240)
# The sample images stand in the repository and are to stay under 80 kB each.
_SAMPLE_JPEG_QUALITY = 85


def write_scenes(
    root: str | os.PathLike[str], *, num_train: int, num_test: int, image_size: tuple[int, int], seed: int
) -> None:
    """Write a dataset of rendered scenes in PASCAL VOC layout, with the splits ``trainval`` and ``test``.

    A complete set with the same parameters is left as it is, an interrupted one is rendered again. The split files are
    written last, so a set that can be read is complete.

    Args:
        root: the folder of the dataset; it must be new, empty, or one that this function wrote.
        num_train, num_test: number of scenes in each split.
        image_size: (width, height) in pixels.
        seed: not negative; another seed gives other scenes.

    Raises:
        DatasetError: a parameter is out of range, or the folder holds something else.
    """
    root = Path(root)
    _check_parameters(num_train, num_test, image_size, seed)
    splits = {
        "trainval": range(FIRST_TRAIN, FIRST_TRAIN + num_train),
        "test": range(FIRST_TEST, FIRST_TEST + num_test),
    }
    split_files = {name: root / "ImageSets" / "Main" / f"{name}.txt" for name in splits}
    _claim_folder(root, {"format": _FORMAT, "seed": seed, "train": num_train, "test": num_test, "size": [*image_size]})
    if all(path.exists() for path in split_files.values()):
        logger.info("%s is complete already", root)
        return

    logger.info("Rendering %d training and %d test scenes to %s", num_train, num_test, root)
    for folder in ("Annotations", "ImageSets/Main", "JPEGImages"):
        (root / folder).mkdir(parents=True, exist_ok=True)
    for numbers in splits.values():
        for number in numbers:
            _write_scene(root, seed, number, image_size)
    for name, numbers in splits.items():
        with atomic_write(split_files[name]) as file:
            file.write("".join(f"{number:06d}\n" for number in numbers).encode())


def write_samples(folder: str | os.PathLike[str], *, seed: int) -> None:
    """Write six scenes that are in no dataset as ``scene_1.jpg`` to ``scene_6.jpg``, without annotations.

    Args:
        folder: where the images go; made if it does not exist.
        seed: not negative.

    Raises:
        DatasetError: the seed is negative.
    """
    _check_seed(seed)
    Path(folder).mkdir(parents=True, exist_ok=True)
    for index in range(_NUM_SAMPLES):
        image, _ = render_scene(seed, FIRST_SAMPLE + index, _SAMPLE_SIZE)
        (Path(folder) / f"scene_{index + 1}.jpg").write_bytes(_encode_jpeg(image, _SAMPLE_JPEG_QUALITY))


def make_voc_annotation(
    filename: str, image_size: tuple[int, int], objects: Sequence[SceneObject]
) -> ElementTree.Element:
    """Build the PASCAL VOC annotation of an image.

    Args:
        filename: name of the image file.
        image_size: (width, height) in pixels.
        objects: what the image shows.

    Returns:
        The ``annotation`` element; its corners count from 1 and include the last row and column.
    """
    root = ElementTree.Element("annotation")
    width, height = image_size
    _add_fields(root, {"folder": "scenes", "filename": filename})
    _add_fields(ElementTree.SubElement(root, "size"), {"width": width, "height": height, "depth": 3})
    _add_fields(root, {"segmented": 0})
    for scene_object in objects:
        element = ElementTree.SubElement(root, "object")
        _add_fields(element, {"name": scene_object.name, "pose": "Unspecified"})
        flags = {"truncated": scene_object.is_truncated, "difficult": scene_object.is_difficult}
        _add_fields(element, {name: int(is_set) for name, is_set in flags.items()})
        xmin, ymin, xmax, ymax = scene_object.box
        corners = {"xmin": xmin + 1, "ymin": ymin + 1, "xmax": xmax, "ymax": ymax}
        _add_fields(ElementTree.SubElement(element, "bndbox"), corners)
    ElementTree.indent(root)
    return root


def _add_fields(parent: ElementTree.Element, fields: dict[str, Any]) -> None:
    for name, value in fields.items():
        ElementTree.SubElement(parent, name).text = str(value)


def _write_scene(root: Path, seed: int, number: int, image_size: tuple[int, int]) -> None:
    image, objects = render_scene(seed, number, image_size)
    path = root / "JPEGImages" / f"{number:06d}.jpg"
    path.write_bytes(_encode_jpeg(image, _JPEG_QUALITY))
    annotation = make_voc_annotation(path.name, image_size, objects)
    (root / "Annotations" / f"{number:06d}.xml").write_bytes(ElementTree.tostring(annotation) + b"\n")


def _encode_jpeg(image: np.ndarray, quality: int) -> bytes:
    is_encoded, buffer = cv2.imencode(".jpg", image[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, quality])
    assert is_encoded
    return buffer.tobytes()


def _check_parameters(num_train: int, num_test: int, image_size: tuple[int, int], seed: int) -> None:
    if not (1 <= num_train <= MAX_SCENES and 1 <= num_test <= MAX_SCENES):
        raise DatasetError(
            f"scenes: 1 to {MAX_SCENES} images in each split can be rendered, not {num_train}, {num_test}"
        )
    if not all(MIN_SIDE <= side <= MAX_SIDE for side in image_size):
        width, height = image_size
        raise DatasetError(f"scenes: the image size must be {MIN_SIDE} to {MAX_SIDE} a side, not {width}x{height}")
    _check_seed(seed)


def _check_seed(seed: int) -> None:
    if seed < 0:
        raise DatasetError(f"scenes: the seed must not be negative, but is {seed}")


def _claim_folder(root: Path, parameters: dict[str, Any]) -> None:
    """Note the parameters in the folder, or raise if it holds anything but scenes with the same ones."""
    remedy = "remove the folder or choose another --output"
    path = root / _PARAMETERS_FILE
    if path.exists():
        try:
            found = json.loads(path.read_text())
        except ValueError as error:
            raise DatasetError(f"{path} is damaged ({error}): {remedy}") from error
        if found != parameters:
            raise DatasetError(f"{root} holds scenes with other parameters, {found} instead of {parameters}: {remedy}")
        return
    if root.exists() and (not root.is_dir() or any(root.iterdir())):
        raise DatasetError(f"{root} exists and holds no rendered scenes ({_PARAMETERS_FILE} is not there): {remedy}")
    root.mkdir(parents=True, exist_ok=True)
    with atomic_write(path) as file:
        file.write(json.dumps(parameters).encode())
