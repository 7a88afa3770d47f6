from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from urllib.parse import quote

import numpy as np
import pytest

from ssd.inference.sources import Source
from ssd.tools.bulk.listing import ListedImages, list_images
from ssd.utils.errors import ImageError
from ssd.utils.image import read_image


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
    assert list_images(["in/**"], None) == ["in/A.JPG", "in/b.jpg", "in/deep/er/c.webp", "in/x[1].jpg", "in/ä b.png"]
    assert list_images(["in/**/*.webp", "in/b.jpg"], None) == ["in/deep/er/c.webp", "in/b.jpg"]
    assert list_images(["in/x[1].jpg"], None) == ["in/x[1].jpg"]
    make_files("two/a.ppm", "two/b.jpg")  # suffixes that are named are found
    assert [list_images([pattern], None) for pattern in ("two/*.ppm", "two/*")] == [["two/a.ppm"], ["two/b.jpg"]]


def test_addresses_and_lines_of_a_list_are_not_changed() -> None:
    lines = ["in/gone.jpg", " a b .jpg", "s3://bucket/ä.jpg", "#1.jpg", "0", "https://user:word@host/i?n=1"]
    Path("list.txt").write_bytes(b"\xef\xbb\xbf" + "\n\r\n".join(lines).encode() + b"\r\n \n")
    assert list_images(["http://host/in/*.jpg"], Path("list.txt")) == ["http://host/in/*.jpg", *lines]


@pytest.mark.parametrize(
    ("sources", "file", "message"),
    [
        (["gone.jpg"], None, r"gone\.jpg"),
        ([""], None, "''"),
        (["empty"], None, "empty"),
        (["empty/**"], None, r"empty/\*\*: .*\.jpg"),
        (["film.mp4"], None, r"film\.mp4: .*--parts"),
        ([], Path("list.txt"), r"list\.txt"),
        ([], Path("gone.txt"), r"gone\.txt"),
    ],
)
def test_sources_without_images(sources: list[str], file: Path | None, message: str) -> None:
    make_files("empty/notes.txt", "film.mp4")
    Path("list.txt").write_text("\n \n")
    with pytest.raises(ImageError, match=message):
        list_images(sources, file)


class QuietHandler(SimpleHTTPRequestHandler):
    def log_message(self, *args: object) -> None:
        pass


@pytest.fixture
def address(pictures: Path) -> Iterator[str]:
    """Of an http server that serves the pictures."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(QuietHandler, directory=str(pictures)))
    thread = Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


def error_of(file: str) -> str:
    (pending,) = ListedImages([file], 0)
    with pytest.raises(ImageError) as error:
        pending.read()
    return str(error.value)


def test_paths_keep_their_number_in_the_whole_listing(pictures: Path) -> None:
    files = [str(pictures / "a b.jpg"), str(pictures / "ä日.jpg")]
    source = ListedImages(files, 7)
    assert isinstance(source, Source)
    assert source.num_frames == 2
    frames = [pending.read() for pending in source]
    assert [frame.index for frame in frames] == [7, 8]
    assert [frame.name for frame in frames] == [str(frame.path) for frame in frames] == files
    assert np.array_equal(frames[1].image, read_image(files[1]))


def test_http_addresses_are_named_without_password(pictures: Path, address: str) -> None:
    name = f"{address}/{quote('ä日.jpg')}"
    (pending,) = ListedImages([name.replace("//", "//me:secret@", 1)], 0)
    frame = pending.read()
    assert (frame.name, frame.path, pending.name) == (name, None, name)
    assert np.array_equal(frame.image, read_image(pictures / "ä日.jpg"))
    assert error_of(f"{address}/gone.jpg").startswith(f"{address}/gone.jpg: HTTP Error 404")


def test_addresses_of_other_file_systems(pictures: Path) -> None:
    pytest.importorskip("pyarrow")
    (pending,) = ListedImages([(pictures / "d#1%20.jpg").absolute().as_uri()], 3)
    frame = pending.read()
    assert (frame.index, frame.path) == (3, None)
    assert np.array_equal(frame.image, read_image(pictures / "d#1%20.jpg"))
    for address in ("file:///gone/a.jpg", pictures.absolute().as_uri(), (pictures / "bad.png").absolute().as_uri()):
        assert error_of(address).startswith(f"{address}: ")
    assert error_of("gopher://me:secret@host/a.jpg").startswith("gopher://host/a.jpg: ")


def test_entries_that_are_not_images(pictures: Path) -> None:
    Path("film.mp4").write_bytes(b"\0\0\0\x18ftypmp42")
    for name in ("film.mp4", str(pictures), "0"):
        assert error_of(name).startswith(f"{name}: ")
