import base64
import contextlib
import re
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import unquote

import cv2
import numpy as np
import pytest

from ssd.inference.sources import open_source
from ssd.inference.sources.addresses import fetch_image
from ssd.utils.errors import ImageError

PIXELS = np.random.default_rng(0).integers(0, 256, (20, 30, 3), dtype=np.uint8)
PNG = cv2.imencode(".png", PIXELS[..., ::-1])[1].tobytes()

CONTENTS = {
    **dict.fromkeys(("/a.png", "/größe 猫.png", "/image", "/secret.png"), PNG),
    **{"/page.jpg": b"<html>no image here</html>", "/empty.png": b""},
    "/endless.png": b"x" * 65536,
}
AUTHORIZATION = f"Basic {base64.b64encode(b'me:pass@word').decode()}"


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        path = unquote(self.path.partition("?")[0])
        if path == "/secret.png" and self.headers.get("Authorization") != AUTHORIZATION:
            self.send_error(401)
        elif path == "/moved.png":
            self._start(302, {"Location": "/a.png", "Content-Length": 0})
        elif path not in CONTENTS:
            self.send_error(404)
        elif path == "/endless.png":
            self._start(200, {})
            with contextlib.suppress(OSError):  # the client disconnects
                for _ in range(400):
                    self.wfile.write(CONTENTS[path])
        else:
            self._start(200, {"Content-Length": len(CONTENTS[path])})
            self.wfile.write(CONTENTS[path])

    def _start(self, status: int, headers: dict[str, object]) -> None:
        self.send_response(status)
        for name, value in {**headers, "Connection": "close"}.items():
            self.send_header(name, str(value))
        self.end_headers()
        self.close_connection = True

    def log_message(self, *_: object) -> None:
        """Nothing on stderr."""


@pytest.fixture(scope="module")
def host(video: Path) -> Iterator[str]:
    CONTENTS["/street.avi"] = video.read_bytes()
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    yield f"127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.mark.parametrize(
    "path", ["a.png", "größe 猫.png", "gr%C3%B6%C3%9Fe%20%E7%8C%AB.png", "image", "a.png?b=1#c", "moved.png"]
)
def test_an_image_is_fetched_when_it_is_read(host: str, path: str) -> None:
    url = f"http://{host}/{path}"
    source = open_source(url)
    assert source.num_frames == 1
    (pending,) = source
    frame = pending.read()
    np.testing.assert_array_equal(frame.image, PIXELS)
    assert (frame.name, frame.path) == (url, None)


def test_a_password_is_used_and_not_shown(host: str) -> None:
    (pending,) = open_source(f"HTTP://me:pass%40word@{host}/secret.png")
    frame = pending.read()
    assert frame.name == f"HTTP://{host}/secret.png"
    np.testing.assert_array_equal(frame.image, PIXELS)
    (pending,) = open_source(f"http://me:wrong@{host}/secret.png")
    with pytest.raises(ImageError, match="401") as caught:
        pending.read()
    assert "wrong" not in str(caught.value)


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("http://{host}/nothing.png", "404"),
        ("http://{host}/page.jpg", "not an image"),
        ("http://{host}/empty.png", "empty"),
        *((url, "") for url in ("http://127.0.0.1:9/a.png", "http://[bad/a", "https:///a.png", "http://host:port/a")),
    ],
)
def test_a_failure_is_the_error_of_its_frame(host: str, url: str, message: str) -> None:
    url = url.format(host=host)
    (pending,) = open_source(url)
    with pytest.raises(ImageError, match=f"^{re.escape(url)}: .*{message}"):
        pending.read()


def test_the_limit_of_the_size(host: str) -> None:
    with pytest.raises(ImageError, match="500000 bytes"):
        fetch_image(f"http://{host}/endless.png", max_bytes=500_000)


def test_a_video_goes_to_opencv(host: str) -> None:
    source = open_source(f"http://{host}/street.avi?token=1")
    frames = [pending.read() for pending in source]
    assert len(frames) == source.num_frames == 30
    assert frames[3].name == f"http://{host}/street.avi?token=1, frame 3"
    with pytest.raises(ImageError, match=r"nothing\.mp4"):
        open_source(f"http://{host}/nothing.mp4")
