"""Everything that open_source takes: paths, folders, patterns, lists; and errors."""

import glob
import io
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from ssd.inference.sources import Source, open_source
from ssd.utils.errors import ImageError


def levels(source: Source) -> list[int]:
    """The grey level of each image."""
    return [int(pending.read().image[-1, 0, 0]) for pending in source]


@pytest.mark.parametrize("name", ["a.png", "with space.png", "größe 猫.png", "a[1].png", "no_suffix", "100%d.png"])
def test_a_path(write_image_file: Callable[..., Path], name: str) -> None:
    path = write_image_file(name, 90)
    for given in (path, str(path)):
        source = open_source(given)
        assert isinstance(source, Source)
        assert source.num_frames == 1
        (pending,) = source
        frame = pending.read()
        assert (pending.name, frame.name, frame.path, frame.index, frame.video) == (str(path), str(path), path, 0, None)
        np.testing.assert_array_equal(frame.image, np.full((6, 8, 3), 90, np.uint8))


def test_a_folder_gives_its_images_sorted(write_image_file: Callable[..., Path], tmp_path: Path) -> None:
    for name, level in (("b.PNG", 2), ("a 1.png", 1), ("ü.png", 3), ("inner/c.png", 4)):
        write_image_file(name, level)
    (tmp_path / "notes.txt").touch()
    (tmp_path / "folder.png").mkdir()
    source = open_source(tmp_path)
    assert source.num_frames == 3
    assert levels(source) == levels(source) == [1, 2, 3]
    assert open_source(source) is source
    assert levels(open_source([source, source])) == [1, 2, 3] * 2
    assert [pending.read().index for pending in source] == [0, 1, 2]
    assert [pending.read().path for pending in source] == [tmp_path / name for name in ("a 1.png", "b.PNG", "ü.png")]


def test_nothing_of_a_folder_is_read_before_its_turn(tmp_path: Path) -> None:
    for number in range(50):
        (tmp_path / f"{number:02d}.jpg").touch()
    frames = iter(open_source(str(tmp_path)))
    assert next(frames).name == str(tmp_path / "00.jpg")
    (tmp_path / "01.jpg").unlink()
    with pytest.raises(ImageError, match=r"01\.jpg: No such file"):
        next(frames).read()
    with pytest.raises(ImageError, match=r"02\.jpg: the file is empty"):
        next(frames).read()


def test_a_glob(write_image_file: Callable[..., Path], tmp_path: Path, video: Path) -> None:
    for name, level in (("x/b.png", 2), ("x/a.png", 1), ("x/y/z/c.png", 3), ("d.png", 4)):
        write_image_file(name, level)
    (tmp_path / "x" / "notes.txt").touch()
    os.symlink(video, tmp_path / "x" / "w.avi")
    assert levels(open_source(f"{tmp_path}/x/*.png")) == [1, 2]
    assert levels(open_source(tmp_path / "**" / "*.png")) == [4, 1, 2, 3]
    assert open_source(f"{tmp_path}/**/*.png").num_frames == 4
    assert levels(open_source(f"{tmp_path}/[d]*"))[0] == 4
    mixed = open_source(f"{tmp_path}/x/*")
    assert mixed.num_frames is None
    assert len(levels(mixed)) == 2 + 30


def test_a_glob_takes_the_suffix_that_it_names(tmp_path: Path) -> None:
    Image.new("RGB", (3, 3), (7, 7, 7)).save(tmp_path / "a.tif")
    assert levels(open_source(f"{tmp_path}/*.tif")) == [7]
    with pytest.raises(ImageError, match=r"/\*: "):
        open_source(f"{tmp_path}/*")


@pytest.mark.parametrize("kind", [list, tuple, iter])
def test_lists_and_iterables(write_image_file: Callable[..., Path], tmp_path: Path, video: Path, kind: type) -> None:
    array = np.full((6, 8, 3), 3, np.uint8)
    items = [
        write_image_file("a.png", 1),
        str(write_image_file("b.png", 2)),
        array,
        Image.fromarray(array + 1),
        torch.full((3, 4, 5), 5, dtype=torch.uint8),
        torch.full((2, 3, 4, 5), 6, dtype=torch.uint8),
        write_image_file("c.png", 7).read_bytes(),
        [array + 5, array + 6],
    ]
    source = open_source(kind(items))
    assert source.num_frames is None
    frames = [pending.read() for pending in source]
    assert [int(frame.image[0, 0, 0]) for frame in frames] == [1, 2, 3, 4, 5, 6, 6, 7, 8, 9]
    assert [frame.index for frame in frames] == list(range(10))
    paths = [str(tmp_path / name) for name in ("a.png", "b.png")]
    names = ["image 2", "image 3", "image 4", "image 5[0]", "image 5[1]", "image 7", "image 0", "image 1"]
    assert [frame.name for frame in frames] == paths + names
    assert [open_source(part).num_frames for part in (items[:5], items[6:7], items[:6], [])] == [5, 1, None, 0]


def test_frames_of_a_video_in_a_list_keep_their_numbers(write_image_file: Callable[..., Path], video: Path) -> None:
    path = write_image_file("a.png")
    source = open_source([path, video, path])
    assert source.num_frames is None
    frames = [pending.read() for pending in source]
    assert [frame.index for frame in frames] == [0, *range(30), 31]
    assert [frame.video is None for frame in frames] == [True, *[False] * 30, True]


def test_failures_in_a_list_are_errors_of_frames(write_image_file: Callable[..., Path]) -> None:
    good = write_image_file("good.png", 9)
    items = [good, "missing.png", None, np.zeros((2, 2, 3)), "rtspp://camera", good]
    pending = list(open_source(items))
    assert len(pending) == 6
    assert [frame.read().index for frame in (pending[0], pending[5])] == [0, 5]
    messages = ["missing.png: ", "image 2: NoneType", "image 3: an array of float64", "rtspp"]
    for frame, message in zip(pending[1:5], messages, strict=True):
        with pytest.raises(ImageError, match=message):
            frame.read()


def test_an_iterable_is_walked_lazily() -> None:
    taken = []

    def endless():
        for number in range(10**9):
            taken.append(number)
            yield np.full((2, 2), number, np.uint8)

    frames = iter(open_source(endless()))
    assert [next(frames).read().index for _ in range(3)] == [0, 1, 2]
    assert len(taken) == 3


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("street.jpg", r"street\.jpg: there is no such file"),
        ("", r"'': there is no such file"),
        ("a\0b.jpg", r"no such file"),
        ("x" * 5000, r"no such file"),
        ("ftp://host/a.jpg", r"ftp://host/a\.jpg: .*'ftp'.* http, https, rtsp"),
        ("rtps://me:secret@host/a", r"^rtps://host/a: .*'rtps'"),
        ("nothing/*.jpg", r"nothing/\*\.jpg: .*\.webp, \.mp4"),
        (None, r"image: NoneType"),
        (True, r"bool"),
        (1.5, r"float"),
        ({"a.jpg": 1}, r"dict"),
    ],
)
def test_other_sources(source: object, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ImageError, match=message):
        open_source(source)


def test_an_existing_file_is_not_a_pattern(write_image_file: Callable[..., Path]) -> None:
    path = write_image_file("a[bc].png", 1)
    write_image_file("ab.png", 2)
    assert levels(open_source(path)) == [1]
    assert levels(open_source(glob.escape(str(path)))) == [1]
    assert levels(open_source(io.BytesIO(b""))) == []  # an iterable without anything
