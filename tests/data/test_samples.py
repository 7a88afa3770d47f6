import io

import cv2
import numpy as np
import pytest
import torch
from PIL import Image
from torch.utils.data import DataLoader

from ssd.data import build_datasets, make_train_loader
from ssd.data.datasets import ArrayDataset, VOCDataset
from ssd.data.samplers import IterationSampler
from ssd.data.samples import TrainingSamples, collate_training, open_sample
from ssd.data.transforms.batch import inside
from ssd.data.transforms.geometry import GeometricSteps
from ssd.structures import Container
from ssd.utils.errors import DatasetError, ImageError
from ssd.utils.image import read_reduced_image

WIDTH, HEIGHT = 163, 130
DAMAGED = (2, 5)


def assert_same(one, two) -> None:
    for a, b in zip(one, two, strict=True):
        np.testing.assert_array_equal(a, b)


def encode(seed: int, orientation: int | None = None, size: tuple[int, int] = (WIDTH, HEIGHT)) -> bytes:
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
        self.files = [encode(seed, orientation, size) for seed, orientation in enumerate(orientations)]
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


class TwoParts(Whole, ArrayDataset):
    """Images apart from their annotation."""

    def get_target(self, index: int) -> Container:
        return super().__getitem__(index)[1]

    def read_image(self, index: int, reduction: int = 1):
        image, applied = read_reduced_image(self.files[index], reduction, self.size)
        self.reads.append((index, applied))
        return image, applied

    def __getitem__(self, index: int):
        raise AssertionError("the whole sample is not asked for")


KEYS = [(index % 5, position) for position, index in enumerate(range(60))]


def test_two_parts_are_the_whole() -> None:
    whole, parts = (TrainingSamples([kind()], (40, 50), seed=3) for kind in (Whole, TwoParts))
    for key in KEYS:
        assert_same(whole[key], parts[key])


def test_an_index_finds_its_dataset() -> None:
    datasets = [Whole((None,) * 2), TwoParts((None,) * 3), Whole((None,) * 1)]
    starts = [int(open_sample(datasets, index).target["boxes"][1, 0]) // 5 for index in range(6)]
    assert starts == [0, 1, 0, 1, 2, 0]


@pytest.mark.parametrize(
    ("orientations", "size", "annotated", "reductions"),
    [
        ((None,) * 5, (WIDTH, HEIGHT), (WIDTH, HEIGHT), {1, 2, 4, 8}),
        ((6, 3, 8, 2, 5), (176, 128), (176, 128), {1, 2, 4, 8}),  # as the pixels are stored
        ((6, 8, 7, 5, 6), (176, 128), (128, 176), {1, 2, 4, 8}),  # upright
        ((3, 2, 4, 3, 2), (166, 130), (166, 130), {1, 2}),  # of an odd number of reduced pixels
        ((3, 2, 4, 3, 2), (WIDTH, HEIGHT), (WIDTH, HEIGHT), {1}),
    ],
)
def test_reduced_decoding_shows_the_same_within_tolerance(orientations, size, annotated, reductions) -> None:
    dataset = TwoParts(orientations, size=size, annotated=annotated)
    full = TrainingSamples([dataset], (24, 30), seed=1)
    reduced = TrainingSamples([dataset], (24, 30), seed=1, reduced_decoding=True)
    for key in KEYS:
        expected, found = full[key], reduced[key]
        assert_same(expected[1:], found[1:])
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
        assert_same(right[key], wrong[key])


def test_exchanged_sides_and_a_box_that_leaves_the_image_are_an_error() -> None:
    class Outside(TwoParts):
        def get_target(self, index: int) -> Container:
            return Container(boxes=np.array([[20, 30, 90, HEIGHT + 2]], np.float32), labels=np.array([1]))

    samples = TrainingSamples([Outside(annotated=(HEIGHT, WIDTH))], (24, 30), seed=1)
    with pytest.raises(DatasetError, match=f"image 3, annotated as {HEIGHT} x {WIDTH} "):
        _ = samples[(3, 0)]


def test_steps_left_out_leave_the_image_alone() -> None:
    samples = TrainingSamples([TwoParts()], (HEIGHT, WIDTH), seed=1, steps=GeometricSteps(False, False, False))
    np.testing.assert_array_equal(samples[(0, 9)].image, read_reduced_image(encode(0), 1)[0])


@pytest.fixture
def dataset(write_voc) -> VOCDataset:
    """Eight images, of which one is cut short and one is of another size than annotated."""
    root = write_voc({f"{i}": [("cat", (1, 1, 9, 9))] for i in range(8)}, suffix=".jpg")
    path = root / "JPEGImages/2.jpg"
    path.write_bytes(path.read_bytes()[:-200])
    other = root / "Annotations/5.xml"
    other.write_text(other.read_text().replace("<width>40<", "<width>50<"))
    return VOCDataset(root, "train")


def samples_of(dataset, **options: bool) -> TrainingSamples:
    return TrainingSamples([dataset], (24, 32), seed=3, **options)


class Damaged(Whole):
    """Eight images; those of ``damaged`` cannot be read."""

    def __init__(self, *damaged: int):
        super().__init__((None,) * 8)
        self.damaged = damaged

    def __getitem__(self, index: int) -> tuple:
        if index in self.damaged:
            raise ImageError(f"{index}.png: damaged")
        return super().__getitem__(index)


@pytest.mark.parametrize(("index", "error", "fact"), [(2, ImageError, r"2\.jpg"), (5, DatasetError, "50 x 30")])
def test_it_is_an_error_unless_it_is_to_be_skipped(dataset: VOCDataset, index: int, error, fact: str) -> None:
    with pytest.raises(error, match=fact):
        samples_of(dataset)[index, 0]


def test_a_replacement_is_that_sample_at_that_position(dataset: VOCDataset) -> None:
    lenient, strict = samples_of(dataset, skip_bad=True), samples_of(dataset)
    shown = {index: set() for index in range(8)}
    for position in range(30):
        for index in range(8):
            sample = lenient[index, position]
            shown[index].add(sample.sample_id)
            assert_same(sample, strict[sample.sample_id, position])  # sound, and augmented by the position
    sound = set(range(8)) - set(DAMAGED)
    assert shown == {index: sound if index in DAMAGED else {index} for index in range(8)}


def test_the_replacement_depends_on_nothing_else(dataset: VOCDataset) -> None:
    keys = [(DAMAGED[position % 2], position) for position in range(20)]
    one, two = samples_of(dataset, skip_bad=True), samples_of(dataset, skip_bad=True)
    backwards = [two[key] for key in reversed(keys)]
    for key, sample in zip(keys, reversed(backwards), strict=True):
        assert_same(one[key], sample)


@pytest.mark.filterwarnings("ignore:This DataLoader will create:UserWarning")  # where one core is visible
def test_workers_see_the_same_stream(dataset: VOCDataset) -> None:
    samples, expected = samples_of(dataset, skip_bad=True), samples_of(dataset, skip_bad=True)
    sampler = IterationSampler(8, 4, max_iter=8, seed=3)
    loader = DataLoader(samples, batch_sampler=sampler, collate_fn=collate_training, num_workers=2)
    for (images, targets, ids), keys in zip(loader, sampler, strict=True):
        wanted_images, wanted_targets, wanted_ids = collate_training([expected[key] for key in keys])
        assert torch.equal(images, wanted_images)
        assert torch.equal(targets["boxes"], wanted_targets["boxes"])
        assert torch.equal(ids, wanted_ids)
        assert not set(ids.tolist()) & set(DAMAGED)


@pytest.mark.parametrize("on_error", ["raise", "skip"])
def test_the_config_decides(dataset: VOCDataset, make_cfg, on_error: str) -> None:
    """Skipping, the image of another size is left out as the set is built, the one cut short when it is met."""
    custom = {"cells": {"FORMAT": "voc", "ROOT": str(dataset.data_dir), "SPLIT": "train"}}
    cfg = make_cfg(custom, **{"DATASETS.TRAIN": ("cells",), "DATASETS.ON_ERROR": on_error})
    datasets = build_datasets(cfg, is_train=True)
    loader = make_train_loader(cfg, datasets)
    assert len(datasets[0]) == (8 if on_error == "raise" else 7)
    if on_error == "raise":
        with pytest.raises((DatasetError, ImageError)):
            list(loader)
    else:
        assert {index for _, _, ids in loader for index in ids.tolist()} == {0, 1, 3, 4, 5, 6}


def test_sets_that_come_whole_are_replaced_too() -> None:
    lenient, strict = samples_of(Damaged(*DAMAGED), skip_bad=True), samples_of(Damaged())
    for position in range(10):
        sample = lenient[(2, position)]
        assert_same(sample, strict[sample.sample_id, position])


def test_each_damaged_sample_is_named_once(caplog: pytest.LogCaptureFixture) -> None:
    samples = samples_of(Damaged(3, 7), skip_bad=True)
    for index in (3, 7, 3):
        _ = samples[index, 0]
    assert {record.getMessage()[-14:] for record in caplog.records} == {"3.png: damaged", "7.png: damaged"}
    assert len(caplog.records) == 2


def test_if_all_are_damaged_it_ends() -> None:
    with pytest.raises(ImageError, match=r"\d\.png: damaged"):
        samples_of(Damaged(*range(8)), skip_bad=True)[0, 0]
