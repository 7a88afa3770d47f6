import pickle
import shutil
from collections import namedtuple

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader, Dataset

from ssd.data import cache as cache_module
from ssd.data.cache import ImageCache
from ssd.utils.errors import ConfigError

SIZES = np.array([[4, 3], [5, 2], [2, 2], [1, 1]])  # 36, 30, 12 and 3 bytes


def _image(index: int) -> np.ndarray:
    width, height = SIZES[index]
    return np.random.default_rng(index).integers(0, 256, (height, width, 3), dtype=np.uint8)


@pytest.fixture(params=["memory", "disk"])
def folder(request, tmp_path):
    return tmp_path / "cache" if request.param == "disk" else None


@pytest.mark.parametrize(
    ("limit", "count", "num_bytes"), [(0, 0, 0), (35, 0, 0), (36, 1, 36), (77, 2, 66), (78, 3, 78), (10**6, 4, 81)]
)
def test_the_first_images_that_fit_have_a_place(folder, limit, count, num_bytes) -> None:
    cache = ImageCache(SIZES, limit, folder)
    assert len(cache) == count
    assert cache.num_bytes == num_bytes <= limit
    assert [cache.has_room_for(index) for index in range(4)] == [True] * count + [False] * (4 - count)
    if folder and count:
        (path,) = folder.iterdir()
        assert path.stat().st_size == num_bytes


def test_pixels_come_back_and_cannot_be_changed(folder) -> None:
    cache = ImageCache(SIZES, 10**6, folder)
    for index in (2, 0, 3, 1):
        assert cache.get(index) is None
        cache.put(index, _image(index))
    for index in range(4):
        kept = cache.get(index)
        np.testing.assert_array_equal(kept, _image(index))
        with pytest.raises(ValueError, match="read-only"):
            kept[0] = 0


def test_an_image_of_another_size_is_not_kept(folder) -> None:
    cache = ImageCache(SIZES, 10**6, folder)
    cache.put(0, _image(0).swapaxes(0, 1))
    assert cache.get(0) is None


class Filling(Dataset):
    """Puts what it is asked for, and tells what was there before."""

    def __init__(self, cache: ImageCache):
        self.cache = cache

    def __len__(self) -> int:
        return 4

    def __getitem__(self, index: int) -> bool:
        was_there = self.cache.get(index) is not None
        self.cache.put(index, _image(index))
        return was_there


@pytest.mark.parametrize("start_method", ["fork", "spawn"])
def test_workers_share_it(folder, start_method) -> None:
    if start_method not in torch.multiprocessing.get_all_start_methods():
        pytest.skip("Windows does not fork")
    cache = ImageCache(SIZES, 10**6, folder)
    num_workers = 2 if start_method == "fork" else 1  # which takes seconds to start
    loader = DataLoader(Filling(cache), num_workers=num_workers, multiprocessing_context=start_method)
    assert [bool(was_there) for was_there in loader] == [False] * 4
    for index in range(4):
        np.testing.assert_array_equal(cache.get(index), _image(index))
    assert folder is None or len(list(folder.iterdir())) == 1  # the workers have not taken it away


def test_the_scratch_file_goes_with_the_cache(tmp_path) -> None:
    cache = ImageCache(SIZES, 10**6, tmp_path)
    assert len(list(tmp_path.iterdir())) == 1
    del cache
    assert list(tmp_path.iterdir()) == []


def test_a_copy_reads_the_same_file(tmp_path) -> None:
    cache = ImageCache(SIZES, 10**6, tmp_path)
    cache.put(1, _image(1))
    copied = pickle.loads(pickle.dumps(cache))
    np.testing.assert_array_equal(copied._place(1), _image(1))


def test_a_folder_that_cannot_be_written_to(tmp_path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(ConfigError, match=r"DATA_LOADER\.CACHE_DIR .*file: .*; name a folder to write to"):
        ImageCache(SIZES, 10**6, tmp_path / "file")


def test_too_little_space(tmp_path, monkeypatch) -> None:
    def refuse(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(cache_module.os, "posix_fallocate", refuse, raising=False)
    with pytest.raises(ConfigError, match=r"CACHE disk: the images take 0\.00 GB, and .* No space left"):
        ImageCache(SIZES, 10**6, tmp_path)
    assert list(tmp_path.iterdir()) == []
    monkeypatch.setattr(cache_module, "_SHARED_MEMORY", tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: namedtuple("Usage", "free")(80))
    with pytest.raises(ConfigError, match=r"CACHE memory: .*; lower DATA_LOADER\.CACHE_GB, or set .* disk"):
        ImageCache(SIZES, 81)
    assert len(ImageCache(SIZES, 80)) == 3
