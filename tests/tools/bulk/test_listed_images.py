import sys
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from urllib.parse import quote

import numpy as np
import pytest

from ssd.inference.sources import Source
from ssd.tools.bulk import listed_images
from ssd.tools.bulk.listed_images import ListedImages
from ssd.utils.errors import ImageError, MissingPackageError
from ssd.utils.image import read_image


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


def why(file: str) -> str:
    """The error of an entry."""
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
    assert [(frame.index, frame.name, str(frame.path)) for frame in frames] == [
        (7, files[0], files[0]),
        (8, files[1], files[1]),
    ]
    assert np.array_equal(frames[1].image, read_image(files[1]))


def test_http_addresses_are_named_without_password(pictures: Path, address: str) -> None:
    name = f"{address}/{quote('ä日.jpg')}"
    (pending,) = ListedImages([name.replace("//", "//me:secret@", 1)], 0)
    frame = pending.read()
    assert (frame.name, frame.path, pending.name) == (name, None, name)
    assert np.array_equal(frame.image, read_image(pictures / "ä日.jpg"))
    assert why(f"{address}/gone.jpg") == f"{address}/gone.jpg: HTTP Error 404: File not found; check the address"


def test_addresses_of_other_file_systems(pictures: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("pyarrow")
    (pending,) = ListedImages([(pictures / "d#1%20.jpg").absolute().as_uri()], 3)
    frame = pending.read()
    assert (frame.index, frame.path) == (3, None)
    assert np.array_equal(frame.image, read_image(pictures / "d#1%20.jpg"))
    assert why("file:///gone/a.jpg") == "file:///gone/a.jpg: there is no such file"
    assert why(pictures.absolute().as_uri()).endswith("my%20pictures: there is no such file")
    assert "bad.png: image of 12 bytes: not an image" in why((pictures / "bad.png").absolute().as_uri())
    assert why("gopher://me:secret@host/a.jpg").startswith("gopher://host/a.jpg: ")
    monkeypatch.setattr(listed_images, "_MAX_BYTES", 100)
    assert "bytes are more than any image takes" in why((pictures / "b.JPG").absolute().as_uri())


def test_addresses_of_other_file_systems_need_pyarrow(pictures: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow.fs", None)
    (pending,) = ListedImages(["s3://bucket/a.jpg"], 0)
    with pytest.raises(MissingPackageError, match=r"pip install -e '\.\[parquet\]'"):
        pending.read()


def test_whatever_is_no_image_is_one_error(pictures: Path) -> None:
    Path("film.mp4").write_bytes(b"\0\0\0\x18ftypmp42")
    assert why("film.mp4").startswith("film.mp4: not an image")
    assert why(str(pictures)) == f"{pictures}: Is a directory"
    assert why("0") == "0: No such file or directory"
