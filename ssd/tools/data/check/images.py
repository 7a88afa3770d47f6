"""Every image of a dataset, decoded in full: can it be, has it its annotated size, is it there twice."""

import hashlib
import sys
from typing import NamedTuple

import numpy as np
from tqdm import tqdm

from ssd.data.datasets import ArrayDataset, DetectionDataset
from ssd.data.datasets.sizes import SIZE_MISMATCH, SIZE_SLIP, unreadable_kind
from ssd.data.samples import TwoPartDataset
from ssd.tools.data.check.problem import DUPLICATE, Problem, to_problem
from ssd.tools.data.threads import map_rows
from ssd.utils.cores import available_cores
from ssd.utils.errors import DatasetError, ImageError


class ImageFinding(NamedTuple):
    """What came of one image.

    Attributes:
        name: its path, or what else tells it.
        digest: of its pixels; None if it has none.
        problem: what is wrong with it; None = nothing.
    """

    name: str
    digest: bytes | None
    problem: Problem | None


def check_images(dataset: DetectionDataset, name: str) -> list[ImageFinding]:
    """Decode every image of a dataset, by all cores; a bar shows the progress on a terminal.

    Args:
        dataset: the images.
        name: of the dataset, for the bar.

    Returns:
        One finding an image, in order.
    """
    # A format from elsewhere need not bear several threads: a DataLoader reads it by processes.
    is_threadsafe = isinstance(dataset, ArrayDataset)
    num_threads = available_cores() if is_threadsafe else 1
    findings = map_rows(lambda row: _check_image(dataset, row), len(dataset), num_threads)
    return list(tqdm(findings, desc=name, total=len(dataset), unit="image", disable=not sys.stderr.isatty()))


def find_duplicates(findings: list[ImageFinding]) -> list[Problem]:
    """Return a problem for each image whose pixels an earlier one has."""
    first: dict[bytes, str] = {}
    problems = []
    for name, digest, _ in findings:
        if digest is None:
            continue
        earlier = first.setdefault(digest, name)
        if earlier is not name:
            same = "listed more than once" if earlier == name else f"the same pixels as {earlier}"
            problems.append(Problem(DUPLICATE, name, "", f"{name}: {same}"))
    return problems


def _check_image(dataset: DetectionDataset, row: int) -> ImageFinding:
    path = dataset.image_path(row) if isinstance(dataset, ArrayDataset) else None
    name = f"image {row}" if path is None else str(path)
    try:
        image = dataset.read_image(row)[0] if isinstance(dataset, TwoPartDataset) else dataset[row][0]
    except ImageError as error:
        kind = unreadable_kind(path) if path else "corrupt image"
        return ImageFinding(name, None, Problem(kind, name, "", str(error)))
    except DatasetError as error:
        return ImageFinding(name, None, to_problem(error))
    return ImageFinding(name, _digest(image), _size_problem(dataset, row, name, image))


def _digest(image: np.ndarray) -> bytes:
    """Two files have the same pixels, whatever their format and their metadata are."""
    return hashlib.blake2b(np.ascontiguousarray(image).data, digest_size=16, key=str(image.shape).encode()).digest()


def _size_problem(dataset: DetectionDataset, row: int, name: str, image: np.ndarray) -> Problem | None:
    info = dataset.get_img_info(row)
    annotated, found = (info["width"], info["height"]), (image.shape[1], image.shape[0])
    if annotated == found:
        return None
    kind = SIZE_SLIP if annotated == found[::-1] else SIZE_MISMATCH
    message = f"{name}: the image is {found[0]} x {found[1]} pixels but annotated as {annotated[0]} x {annotated[1]}"
    return Problem(kind, name, "", message)
