"""A dataset in two parts, its images and its cache; the images are JPEGs with all that reduced decoding can meet."""

import io

import cv2
import numpy as np
import pytest
import torch
from PIL import Image
from ssd.data.cache import ImageCache
from ssd.data.reader import SampleReader, make_cache

from ssd.data.samples import TrainingSamples
from ssd.data.transforms.batch import inside
from ssd.data.transforms.geometry import GeometricSteps
from ssd.structures import Container
from ssd.utils.errors import DatasetError
from ssd.utils.image import read_reduced_image

WIDTH, HEIGHT = 163, 130


def _encode(seed: int, orientation: int | None = None, size: tuple[int, int] = (WIDTH, HEIGHT)) -> bytes:
    coarse = np.random.default_rng(seed).integers(0, 256, (4, 5, 3), dtype=np.uint8)
    smooth = cv2.resize(coarse, size, interpolation=cv2.INTER_CUBIC)
    exif, buffer = Image.Exif(), io.BytesIO()
    exif[0x0112] = orientation
    tags = {"exif": exif} if orientation else {}
    Image.fromarray(smooth).save(buffer, "JPEG", quality=95, subsampling=0, **tags)
    return buffer.getvalue()


class Whole:
    """Images that come with their annotation."""

    class_names = ("__background__", "thing")
    metric = "voc"

    def __init__(self, orientations=(None,) * 5, *, size=(WIDTH, HEIGHT), annotated=None):
        self.files = [_encode(seed, orientation, size) for seed, orientation in enumerate(orientations)]
        self.size = annotated or size
        self.reads = []

    def __len__(self) -> int:
        return len(self.files)

    def get_img_info(self, index: int):
        return {"width": self.size[0], "height": self.size[1]}

    def __getitem__(self, index: int):
        image, _ = read_reduced_image(self.files[index], 1, self.size)
        boxes = np.array([[20, 30, 90, 100], [5 * index, 8, 60, 40]], dtype=np.float32)
        return image, Container(boxes=boxes, labels=np.array([1, 1])), index


class TwoParts(Whole):
    """Likewise, apart."""

    def get_target(self, index: int) -> Container:
        return super().__getitem__(index)[1]

    def read_image(self, index: int, reduction: int = 1):
        image, applied = read_reduced_image(self.files[index], reduction, self.size)
        self.reads.append((index, applied))
        return image, applied

    def __getitem__(self, index: int):
        raise AssertionError("the whole sample is not asked for")


def _assert_same(one, two) -> None:
    for a, b in zip(one, two, strict=True):
        np.testing.assert_array_equal(a, b)


KEYS = [(index % 5, position) for position, index in enumerate(range(60))]


def test_two_parts_are_the_whole() -> None:
    whole, parts = (TrainingSamples([kind()], (40, 50), seed=3) for kind in (Whole, TwoParts))
    for key in KEYS:
        _assert_same(whole[key], parts[key])


@pytest.mark.parametrize("kinds", [(TwoParts,), (Whole,), (TwoParts, Whole)])
def test_a_batch_is_its_samples(kinds) -> None:
    samples = TrainingSamples([kind(annotated=(HEIGHT, WIDTH)) for kind in kinds], (40, 50), seed=3)
    keys = [(position % len(samples), position) for position in range(20)]
    for one, two in zip(samples.__getitems__(keys), (samples[key] for key in keys), strict=True):
        _assert_same(one, two)


def test_an_index_finds_its_dataset() -> None:
    reader = SampleReader([Whole((None,) * 2), TwoParts((None,) * 3), Whole((None,) * 1)])
    assert len(reader) == 6
    starts = [int(reader.open(index).target["boxes"][1, 0]) // 5 for index in range(6)]
    assert starts == [0, 1, 0, 1, 2, 0]


@pytest.mark.parametrize(
    ("orientations", "size", "annotated", "reductions"),
    [
        ((None,) * 5, (WIDTH, HEIGHT), (WIDTH, HEIGHT), {1, 2, 4, 8}),
        ((6, 3, 8, 2, 5), (176, 128), (176, 128), {1, 2, 4, 8}),  # as the pixels are stored
        ((6, 8, 7, 5, 6), (176, 128), (128, 176), {1, 2, 4, 8}),  # upright
        ((6, 3, 8, 2, 5), (166, 130), (166, 130), {1, 2}),  # of an odd number of reduced pixels
        ((6, 3, 8, 2, 5), (WIDTH, HEIGHT), (WIDTH, HEIGHT), {1}),
    ],
)
def test_reduced_decoding_shows_the_same_within_tolerance(orientations, size, annotated, reductions) -> None:
    dataset = TwoParts(orientations, size=size, annotated=annotated)
    full = TrainingSamples([dataset], (24, 30), seed=1)
    reduced = TrainingSamples([dataset], (24, 30), seed=1, reduced_decoding=True)
    for key in KEYS:
        expected, found = full[key], reduced[key]
        _assert_same(expected[1:], found[1:])
        is_image = inside(torch.from_numpy(expected.valid_area)[None], 24, 30)[0].numpy()
        difference = np.abs(expected.image.astype(int) - found.image)[is_image]
        assert difference.mean() < 3
        assert np.quantile(difference, 0.99) < 16
    assert {reduction for _, reduction in dataset.reads} == reductions


@pytest.mark.parametrize("reduced_decoding", [False, True])
def test_exchanged_width_and_height_are_a_slip(reduced_decoding) -> None:
    """The image has no EXIF tag, so it is as it is; the boxes are those of the image."""
    right, wrong = (
        TrainingSamples([TwoParts(annotated=size)], (24, 30), seed=1, reduced_decoding=reduced_decoding)
        for size in ((WIDTH, HEIGHT), (HEIGHT, WIDTH))
    )
    for key in KEYS:
        _assert_same(right[key], wrong[key])


def test_another_size_than_annotated_is_an_error() -> None:
    samples = TrainingSamples([TwoParts(annotated=(WIDTH + 40, HEIGHT))], (24, 30), seed=1)
    with pytest.raises(DatasetError, match="image 2 has 163 x 130 pixels, annotated as 203 x 130"):
        samples[(2, 0)]


@pytest.mark.parametrize("place", ["memory", "disk"])
def test_cached_samples_are_those_decoded(tmp_path, place) -> None:
    dataset = TwoParts()
    cache = make_cache([dataset], 3 * WIDTH * HEIGHT * 3, tmp_path if place == "disk" else None)
    cached = TrainingSamples([dataset], (24, 30), seed=1, cache=cache)
    plain = TrainingSamples([Whole()], (24, 30), seed=1)
    for key in KEYS:
        _assert_same(plain[key], cached[key])
    counts = [sum(index == read for read, _ in dataset.reads) for index in range(5)]
    assert counts == [1, 1, 1, 12, 12]  # three images fit


def test_cached_images_are_decoded_in_full() -> None:
    dataset = TwoParts()
    cache = ImageCache(np.array([[WIDTH, HEIGHT]] * 5), WIDTH * HEIGHT * 3)
    samples = TrainingSamples([dataset], (24, 30), seed=1, reduced_decoding=True, cache=cache)
    for key in KEYS:
        samples[key]
    assert [(index, reduction) for index, reduction in dataset.reads if index == 0] == [(0, 1)]
    assert {reduction for index, reduction in dataset.reads if index > 0} == {1, 2, 4, 8}


def test_what_comes_whole_cannot_be_cached() -> None:
    with pytest.raises(DatasetError, match="images of Whole cannot be cached: it has no get_target and read_image"):
        make_cache([TwoParts(), Whole()], 10**6)


def test_steps_left_out_leave_the_image_alone() -> None:
    samples = TrainingSamples([TwoParts()], (HEIGHT, WIDTH), seed=1, steps=GeometricSteps(False, False, False))
    np.testing.assert_array_equal(samples[(0, 9)].image, read_reduced_image(_encode(0), 1)[0])
