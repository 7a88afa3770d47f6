"""Videos and streams; frame n has the grey level 8 n."""

import gc
import os
import time
from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np
import pytest

from ssd.inference.sources import Frame, VideoInfo, open_source
from ssd.inference.sources.video import VideoSource
from ssd.utils.errors import ImageError

from .conftest import FRAME_RATE, HEIGHT, WIDTH, write_frames


def read_all(source: object) -> tuple[list[Frame], list[ImageError]]:
    frames, errors = [], []
    for pending in open_source(source):
        try:
            frames.append(pending.read())
        except ImageError as error:
            errors.append(error)
    return frames, errors


def level(frame: Frame) -> int:
    return round(float(np.median(frame.image[HEIGHT // 2 :])) / 8)


def test_a_video_in_order_with_its_header(video: Path) -> None:
    frames, errors = read_all(video)
    assert errors == []
    assert [level(frame) for frame in frames] == list(range(30))
    assert [frame.index for frame in frames] == list(range(30))
    assert frames[17].name == f"{video}, frame 17"
    assert {frame.path for frame in frames} == {None}
    assert {frame.video for frame in frames} == {VideoInfo(str(video), FRAME_RATE, 30, (WIDTH, HEIGHT))}
    assert [frame.time for frame in frames] == pytest.approx(np.arange(30) / FRAME_RATE)
    assert {frame.image.shape for frame in frames} == {(HEIGHT, WIDTH, 3)}


@pytest.mark.parametrize("name", ["a.mp4", "größe 猫 %03d.mkv", "B.MOV"])
def test_other_containers(tmp_path: Path, name: str) -> None:
    frames, errors = read_all(write_frames(tmp_path / name, 12, "mp4v"))
    assert (len(frames), errors) == (12, [])
    assert np.abs([level(frame) - frame.index for frame in frames]).max() <= 1  # coded coarsely


def test_frames_are_rgb(monkeypatch: pytest.MonkeyPatch) -> None:
    capture = FakeCapture(promised=1, frames=1)
    monkeypatch.setattr(capture, "read", lambda: (True, np.full((4, 4, 3), (0, 0, 250), np.uint8)))
    pending = next(iter(fake(monkeypatch, capture)))
    assert pending.read().image[0, 0].tolist() == [250, 0, 0]


def test_it_can_be_walked_again_and_abandoned(video: Path) -> None:
    source = open_source(video)
    first = iter(source)
    assert [level(next(first).read()) for _ in range(3)] == [0, 1, 2]
    assert [level(pending.read()) for pending in source] == list(range(30))
    assert level(next(first).read()) == 3
    first.close()
    assert [level(pending.read()) for pending in source] == list(range(30))


@pytest.mark.skipif(not os.path.isdir("/proc/self/fd"), reason="only Linux lists open files")
def test_an_abandoned_walk_closes_the_file(video: Path) -> None:
    def num_open() -> int:
        links = [os.path.join("/proc/self/fd", number) for number in os.listdir("/proc/self/fd")]
        return sum(os.path.exists(link) and os.path.samefile(link, video) for link in links)

    source = open_source(video)
    frames = iter(source)
    next(frames)
    assert num_open() == 1
    frames.close()
    assert num_open() == 0
    unused = open_source(video)
    assert num_open() == 1
    del unused
    gc.collect()
    assert num_open() == 0


def test_a_truncated_video_gives_its_frames_and_a_warning(video, tmp_path, caplog):
    path = tmp_path / "half.avi"
    content = video.read_bytes()
    path.write_bytes(content[: int(len(content) * 0.6)])
    frames, errors = read_all(path)
    assert 3 < len(frames) < 25
    assert errors == []
    assert f"{len(frames)} frames are read, but its header has 30" in caplog.text
    caplog.clear()
    read_all(video)
    assert caplog.text == ""


class FakeCapture:
    """A video; ``times`` are those of its frames in seconds."""

    def __init__(self, promised, frames, rate=10, times=None, side=4):
        self.values = {cv2.CAP_PROP_FRAME_COUNT: promised, cv2.CAP_PROP_FPS: rate}
        self.values |= {cv2.CAP_PROP_FRAME_WIDTH: side, cv2.CAP_PROP_FRAME_HEIGHT: side, cv2.CAP_PROP_POS_MSEC: 0}
        self.times = iter(np.arange(frames) / 10 if times is None else times)
        self.is_released = False

    def get(self, key: int) -> float:
        return self.values[key]

    def read(self) -> tuple[bool, np.ndarray | None]:
        second = next(self.times, None)
        if second is None:
            return False, None
        self.values[cv2.CAP_PROP_POS_MSEC] = 1000 * second
        return True, np.zeros((4, 4, 3), np.uint8)

    def isOpened(self) -> bool:  # noqa: N802 (OpenCV's name)
        return True

    def release(self) -> None:
        self.is_released = True


def fake(monkeypatch: pytest.MonkeyPatch, capture: FakeCapture, address: str | int = "a.mp4") -> VideoSource:
    monkeypatch.setattr(cv2, "VideoCapture", lambda *_: capture)
    return VideoSource(address)


def walk(source: VideoSource) -> tuple[int, str]:
    """Return the number of frames and the message of the error after them."""
    frames, errors = read_all(source)
    return len(frames), "".join(map(str, errors))


VARIABLE = [*np.arange(30) / 30, *np.arange(1, 10.1, 0.5)]  # 49 frames, the last at 10 s


@pytest.mark.parametrize(
    ("rate", "written", "expected"),
    [
        (10, [0, 0.05, 2.5, 2.6], [0, 0.05, 2.5, 2.6]),
        (10, [0, 0, 0, 0], [0, 0.1, 0.2, 0.3]),  # the container has no times
        (10, [-9e14, -9e14, float("nan"), 0.5], [0, 0.1, 0.2, 0.5]),
        (10, [3, 3.5, 0, 0.5], [3, 3.5, 3.6, 3.7]),  # it starts again, as joined recordings do
        (0, [0, 0.5, 0.5, 0.7], [0, 0.5, None, 0.7]),
    ],
)
def test_times_of_frames(monkeypatch, rate, written, expected):
    frames, _ = read_all(fake(monkeypatch, FakeCapture(-1, 4, rate, written)))
    assert [frame.time if frame.time is None else round(frame.time, 9) for frame in frames] == expected


@pytest.mark.parametrize(("suffix", "codec"), [("mp4", "h264"), ("mkv", "h264"), ("avi", "mjpeg"), ("webm", "libvpx")])
def test_a_variable_frame_rate(tmp_path: Path, caplog: pytest.LogCaptureFixture, suffix: str, codec: str) -> None:
    """30 frames a second for one second, then two; the header of some containers has 300 or 10,000 frames."""
    path, milliseconds = tmp_path / f"a.{suffix}", Fraction(1, 1000)
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=30)
        stream.width, stream.height = WIDTH, HEIGHT
        stream.pix_fmt = "yuvj420p" if codec == "mjpeg" else "yuv420p"
        stream.codec_context.time_base = milliseconds
        for second in VARIABLE:
            picture = av.VideoFrame.from_ndarray(np.zeros((HEIGHT, WIDTH, 3), np.uint8), format="rgb24")
            picture.pts, picture.time_base = round(1000 * second), milliseconds
            container.mux(stream.encode(picture))
        container.mux(stream.encode(None))
    frames, errors = read_all(path)
    assert (errors, caplog.text) == ([], "")
    assert [frame.time for frame in frames] == pytest.approx(VARIABLE, abs=1e-3)


@pytest.mark.parametrize("rate", [29.97, 0, 90_000, -1, float("nan")])
def test_frame_rates_and_sizes(monkeypatch: pytest.MonkeyPatch, rate: float) -> None:
    assert fake(monkeypatch, FakeCapture(10, 10, rate=rate)).info.frame_rate == (29.97 if rate == 29.97 else 0)
    with pytest.raises(ImageError, match="33000 x 33000"):
        fake(monkeypatch, FakeCapture(promised=10, frames=10, rate=rate, side=33_000.0))


def test_a_video_without_frames_and_a_camera_that_stops(monkeypatch: pytest.MonkeyPatch) -> None:
    capture = FakeCapture(promised=0, frames=0)
    count, message = walk(fake(monkeypatch, capture))
    assert count == 0
    assert message.startswith("a.mp4: ")
    assert capture.is_released
    source = fake(monkeypatch, FakeCapture(promised=-1, frames=3), address=0)
    assert source.info == VideoInfo("camera 0", 10.0, None, (4, 4))
    monkeypatch.setattr(time, "monotonic", iter([7, 7, 7.5, 9.25]).__next__)
    frames, (error,) = read_all(source)
    assert [frame.time for frame in frames] == [0, 0.5, 2.25]  # of a clock, whatever the camera says
    assert str(error).startswith("camera 0: ")


@pytest.mark.parametrize("content", [b"", b"not a video\n" * 50])
def test_a_file_that_is_no_video(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "street.mp4").write_bytes(content)
    with pytest.raises(ImageError, match=r"street\.mp4: not a video"):
        open_source(tmp_path / "street.mp4")


@pytest.mark.parametrize(
    ("source", "message"),
    [
        *((number, "camera 87: ") for number in (87, "87", np.int64(87))),
        ("rtsp://me:secret@127.0.0.1:9/live", r"^rtsp://127\.0\.0\.1:9/live: "),
        ("RTMP://me:secret@127.0.0.1:9/live", r"^RTMP://127\.0\.0\.1:9/live: "),
    ],
)
def test_no_camera_and_no_stream(source: object, message: str) -> None:
    with pytest.raises(ImageError, match=message) as caught:
        open_source(source)
    assert "secret" not in str(caught.value)


def test_a_silent_stream_ends_after_the_timeout() -> None:
    with pytest.raises(ImageError, match="58731"):
        VideoSource("udp://127.0.0.1:58731", timeout=0.3)
