import glob
import io
import itertools
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
    return [int(pending.read().image[-1, 0, 0]) for pending in source]


@pytest.mark.parametrize("name", ["a.png", "with space.png", "größe 猫.png", "a[1].png", "no_suffix", "100%d.png"])
def test_a_path(write_image_file: Callable[..., Path], name: str) -> None:
    path = write_image_file(name, 90)
    for given in (path, str(path)):
        source = open_source(given)
        assert source.num_frames == 1
        (pending,) = source
        frame = pending.read()
        assert (pending.name, frame.name, frame.path, frame.index, frame.video) == (str(path), str(path), path, 0, None)
        np.testing.assert_array_equal(frame.image, np.full((6, 8, 3), 90, np.uint8))


def test_a_folder_gives_its_images_sorted(write_image_file: Callable[..., Path], tmp_path: Path) -> None:
    paths = [write_image_file(name, level) for level, name in enumerate(("a 1.png", "b.PNG", "ü.png", "inner/c.png"))]
    (tmp_path / "notes.txt").touch()
    (tmp_path / "folder.png").mkdir()
    source = open_source(tmp_path)
    assert source.num_frames == 3
    assert open_source(source) is source
    assert levels(open_source([source, source])) == [0, 1, 2] * 2
    frames = [pending.read() for pending in source]
    assert [(frame.index, frame.path) for frame in frames] == list(enumerate(paths[:3]))


def test_nothing_of_a_folder_is_read_before_its_turn(tmp_path: Path) -> None:
    for number in range(50):
        (tmp_path / f"{number:02d}.jpg").touch()
    frames = iter(open_source(str(tmp_path)))
    assert next(frames).name == str(tmp_path / "00.jpg")
    (tmp_path / "01.jpg").unlink()
    with pytest.raises(ImageError, match=r"01\.jpg: there is no such file"):
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
    Image.new("RGB", (3, 3), (7, 7, 7)).save(tmp_path / "a.ppm")
    assert levels(open_source(f"{tmp_path}/*.ppm")) == [7]
    with pytest.raises(ImageError, match=r"/\*: "):
        open_source(f"{tmp_path}/*")


@pytest.mark.parametrize("kind", [list, tuple, iter])
def test_lists_and_iterables(write_image_file: Callable[..., Path], kind: type) -> None:
    array = np.full((6, 8, 3), 3, np.uint8)
    paths = [write_image_file(f"{level}.png", level) for level in (1, 2, 7)]
    tensor, batch = (torch.full(shape, 5, dtype=torch.uint8) for shape in ((3, 4, 5), (2, 3, 4, 5)))
    items = [paths[0], str(paths[1]), array, Image.fromarray(array + 1), tensor, batch, paths[2].read_bytes()]
    items.append([array + 5, array + 6])
    source = open_source(kind(items))
    assert source.num_frames is None
    frames = [pending.read() for pending in source]
    assert [int(frame.image[0, 0, 0]) for frame in frames] == [1, 2, 3, 4, 5, 5, 5, 7, 8, 9]
    assert [frame.index for frame in frames] == list(range(10))
    names = ["image 2", "image 3", "image 4", "image 5[0]", "image 5[1]", "image 7", "image 0", "image 1"]
    assert [frame.name for frame in frames] == [*map(str, paths[:2]), *names]
    assert [open_source(part).num_frames for part in (items[:5], items[6:7], items[:6], [])] == [5, 1, None, 0]


def test_frames_of_a_video_in_a_list_keep_their_numbers(write_image_file: Callable[..., Path], video: Path) -> None:
    path = write_image_file("a.png")
    frames = [pending.read() for pending in open_source([path, video, path])]
    assert [frame.index for frame in frames] == [0, *range(30), 31]
    assert [frame.video is None for frame in frames] == [True, *[False] * 30, True]


def test_failures_in_a_list_are_errors_of_frames(write_image_file: Callable[..., Path]) -> None:
    good = write_image_file("good.png", 9)
    first, *bad, last = open_source([good, "missing.png", None, np.zeros((2, 2, 3)), "rtspp://camera", good])
    assert [pending.read().index for pending in (first, last)] == [0, 5]
    messages = ["missing.png: ", "image 2: NoneType", "image 3: an array of float64", "rtspp"]
    for pending, message in zip(bad, messages, strict=True):
        with pytest.raises(ImageError, match=message):
            pending.read()


def test_an_iterable_is_walked_lazily() -> None:
    numbers = itertools.count()
    frames = iter(open_source(np.full((2, 2), number, np.uint8) for number in numbers))
    assert [next(frames).read().index for _ in range(3)] == [0, 1, 2]
    assert next(numbers) == 3


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("street.jpg", r"street\.jpg: there is no such file"),
        ("", r"'': there is no such file"),
        ("a\0b.jpg", r"no such file"),
        ("x" * 5000, r"no such file"),
        ("ftp://host/a.jpg", r"ftp://host/a\.jpg: .*'ftp'.* http, https, rtsp"),
        ("rtps://me:secret@host/a", r"^rtps://host/a: .*'rtps'"),
        ("nothing/*.jpg", r"nothing/\*\.jpg: .*\.webp.*, \.mp4"),
        (None, r"image: NoneType"),
        (True, r"bool"),
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
