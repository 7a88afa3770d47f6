import os
import sys
from pathlib import Path

import pytest

from ssd.tools.bulk.listing import list_images
from ssd.utils.errors import ImageError


def make_files(*names: str) -> None:
    for name in names:
        Path(name).parent.mkdir(parents=True, exist_ok=True)
        Path(name).touch()


@pytest.fixture(autouse=True)
def _in_tmp_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def test_a_folder_is_not_recursive_and_a_pattern_is() -> None:
    make_files("in/b.jpg", "in/A.JPG", "in/ä b.png", "in/notes.txt", "in/film.mp4", "in/deep/er/c.webp", "in/x[1].jpg")
    assert list_images(["in"], None) == ["in/A.JPG", "in/b.jpg", "in/x[1].jpg", "in/ä b.png"]
    everything = ["in/A.JPG", "in/b.jpg", "in/deep/er/c.webp", "in/x[1].jpg", "in/ä b.png"]
    assert list_images(["in/**"], None) == everything
    assert list_images(["in/**/*.webp", "in/b.jpg"], None) == ["in/deep/er/c.webp", "in/b.jpg"]
    assert list_images(["in/x[1].jpg"], None) == ["in/x[1].jpg"]


def test_a_pattern_finds_images_of_any_suffix_that_it_names() -> None:
    make_files("in/a.tif", "in/b.jpg")
    assert list_images(["in/*.tif"], None) == ["in/a.tif"]
    assert list_images(["in/*"], None) == ["in/b.jpg"]


def test_addresses_and_the_lines_of_a_file_are_taken_as_they_stand() -> None:
    lines = ["in/gone.jpg", " a b .jpg", "s3://bucket/ä.jpg", "#1.jpg", "0", "https://user:word@host/i?n=1"]
    Path("list.txt").write_bytes(b"\xef\xbb\xbf" + "\n\r\n".join(lines).encode() + b"\r\n \n")
    assert list_images(["http://host/in/*.jpg"], Path("list.txt")) == ["http://host/in/*.jpg", *lines]
    Path("list.txt").write_bytes(b"caf\xe9.jpg")
    assert [os.fsencode(file) for file in list_images([], Path("list.txt"))] == [b"caf\xe9.jpg"]


@pytest.mark.skipif(sys.platform != "linux", reason="other file systems take no such names")
def test_names_that_are_no_unicode() -> None:
    Path("in").mkdir()
    Path(os.fsdecode(b"in/caf\xe9.jpg")).touch()
    assert [os.fsencode(file) for file in list_images(["in"], None)] == [b"in/caf\xe9.jpg"]


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("gone.jpg", r"gone\.jpg: there is no such file or folder"),
        ("", r"'': there is no such file or folder"),
        ("empty", r"empty: no images directly inside"),
        ("empty/**", r"empty/\*\*: no image matches this pattern; these suffixes count: \.jpg"),
        ("film.mp4", r"film\.mp4: a video, .*ssd demo detects in videos"),
    ],
)
def test_sources_without_images(source: str, message: str) -> None:
    Path("empty").mkdir()
    make_files("film.mp4")
    with pytest.raises(ImageError, match=message):
        list_images([source], None)


def test_lists_without_images() -> None:
    Path("list.txt").write_text("\n \n")
    with pytest.raises(ImageError, match=r"list\.txt: there are no images"):
        list_images([], Path("list.txt"))
    with pytest.raises(ImageError, match=r"gone\.txt: the list cannot be read: No such file"):
        list_images([], Path("gone.txt"))
