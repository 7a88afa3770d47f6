import logging
import sys
from pathlib import Path

import av
import cv2
import numpy as np
import pytest

from ssd.inference.video_writer import VideoWriter
from ssd.utils.errors import OutputError

NUM_FRAMES = 12


def make_frame(number: int, width: int = 160, height: int = 120) -> np.ndarray:
    """A green bar that walks from left to right over red."""
    frame = np.full((height, width, 3), (200, 40, 30), np.uint8)
    frame[:, 10 * number : 10 * number + 20] = (20, 180, 60)
    return frame


def write_frames(path: Path, frame_rate: float = 25, *, size: tuple[int, int] = (160, 120)) -> None:
    with VideoWriter(path, frame_rate) as writer:
        for number in range(NUM_FRAMES):
            writer.write(make_frame(number, *size))


def read_frames(path: Path) -> list[np.ndarray]:
    """RGB frames, decoded by OpenCV."""
    video = cv2.VideoCapture(str(path))
    frames = []
    while True:
        is_there, frame = video.read()
        if not is_there:
            return frames
        frames.append(cv2.cvtColor(frame, cv2.COLOR_BGR2RGB))


def codec_of(path: Path) -> str:
    with av.open(str(path)) as container:
        return container.streams.video[0].codec_context.name


@pytest.fixture
def _no_av(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "av", None)


@pytest.fixture(params=["h264", "mpeg4"])
def codec(request: pytest.FixtureRequest) -> str:
    """Either codec, chosen as for a user: by whether PyAV is installed."""
    if request.param == "mpeg4":
        request.getfixturevalue("_no_av")
    return request.param


def test_frames_come_back_in_order(codec: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "walk.mp4"
    write_frames(path)
    frames = read_frames(path)
    assert len(frames) == NUM_FRAMES
    for number, frame in enumerate(frames):
        difference = np.abs(frame.astype(int) - make_frame(number))
        assert difference.mean() < 6
        assert np.abs(frame[60, 10 * number + 10].astype(int) - (20, 180, 60)).max() < 12
    monkeypatch.undo()
    assert codec_of(path) == codec


@pytest.mark.parametrize("frame_rate", [7.5, 15, 23.976, 30000 / 1001, 59.94, 120, 0])
def test_frame_rate_is_kept(codec: str, tmp_path: Path, frame_rate: float) -> None:
    write_frames(tmp_path / "a.mp4", frame_rate, size=(32, 32))
    found = cv2.VideoCapture(str(tmp_path / "a.mp4")).get(cv2.CAP_PROP_FPS)
    assert found == pytest.approx(frame_rate or 25, rel=1e-4)


@pytest.mark.parametrize("size", [(161, 120), (160, 121), (33, 47), (1, 1), (3, 200)])
def test_odd_sizes_repeat_the_last_pixel(codec: str, tmp_path: Path, size: tuple[int, int]) -> None:
    width, height = size
    write_frames(tmp_path / "a.mp4", size=size)
    frames = read_frames(tmp_path / "a.mp4")
    assert len(frames) == NUM_FRAMES
    assert frames[0].shape == (height + height % 2, width + width % 2, 3)
    outside = np.concatenate([frames[0][height - 1 :].reshape(-1, 3), frames[0][:, width - 1 :].reshape(-1, 3)])
    border = make_frame(0, *size)[-1, -1].astype(int)
    assert np.abs(outside[-1].astype(int) - border).max() < 20


def test_the_old_file_stays_and_later_frames_take_the_size_of_the_first(codec: str, tmp_path: Path) -> None:
    path = tmp_path / "a.mp4"
    path.write_bytes(b"old")
    with VideoWriter(path, 25) as writer:
        writer.write(make_frame(0))
        writer.write(make_frame(1, 320, 240))
        assert path.read_bytes() == b"old"
    assert [frame.shape for frame in read_frames(path)] == [(120, 160, 3)] * 2
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("kind", [KeyboardInterrupt, RuntimeError])
def test_an_interrupt_leaves_a_complete_file(codec: str, tmp_path: Path, kind: type[BaseException]) -> None:
    def record() -> None:
        with VideoWriter(tmp_path / "a.mp4", 25) as writer:
            for number in range(3):
                writer.write(make_frame(number))
            raise kind

    with pytest.raises(kind):
        record()
    assert len(read_frames(tmp_path / "a.mp4")) == 3


def test_no_frames_make_no_file_and_failures_leave_none(codec: str, tmp_path: Path) -> None:
    with VideoWriter(tmp_path / "a.mp4", 25):
        pass
    assert not list(tmp_path.iterdir())
    (tmp_path / "a.mp4").mkdir()
    for path in (tmp_path / "gone" / "a.mp4", tmp_path / "a.mp4"):
        with pytest.raises(OutputError, match=rf"^{path}: cannot be written"):
            write_frames(path)
    assert [path.name for path in tmp_path.iterdir()] == ["a.mp4"]


def test_h264_plays_in_a_browser(tmp_path: Path) -> None:
    """Which takes 4:2:0 only, and starts at once if the index (moov) comes before the pictures (mdat)."""
    write_frames(tmp_path / "a.mp4")
    with av.open(str(tmp_path / "a.mp4")) as container:
        assert container.streams.video[0].codec_context.pix_fmt == "yuv420p"
    data = (tmp_path / "a.mp4").read_bytes()
    assert 0 < data.index(b"moov") < data.index(b"mdat")


def test_only_mp4v_warns(codec: str, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING, "ssd"):
        write_frames(tmp_path / "a.mp4")
    assert ("the extra `video`" in caplog.text) == (codec == "mpeg4")
    assert len(caplog.records) == (codec == "mpeg4")


def test_pyav_without_h264_warns(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(av, "codecs_available", {"mpeg4"})
    with caplog.at_level(logging.WARNING, "ssd"):
        write_frames(tmp_path / "a.mp4")
    assert "H.264" in caplog.text
    assert cv2.VideoCapture(str(tmp_path / "a.mp4")).isOpened()
