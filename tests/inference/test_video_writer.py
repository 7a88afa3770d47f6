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
    video = cv2.VideoCapture(str(path))
    frames = []
    while (frame := video.read()[1]) is not None:
        frames.append(cv2.cvtColor(frame, cv2.COLOR_BGR2RGB))
    return frames


@pytest.fixture(params=["h264", "mpeg4"])
def codec(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Either codec, chosen as for a user: by whether PyAV is installed."""
    if request.param == "mpeg4":
        monkeypatch.setitem(sys.modules, "av", None)
    return request.param


def test_frames_come_back_in_order(codec: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "walk.mp4"
    write_frames(path)
    frames = read_frames(path)
    assert len(frames) == NUM_FRAMES
    for number, frame in enumerate(frames):
        assert np.abs(frame.astype(int) - make_frame(number)).mean() < 6
        assert np.abs(frame[60, 10 * number + 10].astype(int) - (20, 180, 60)).max() < 12
    monkeypatch.undo()
    with av.open(str(path)) as container:
        assert container.streams.video[0].codec_context.name == codec


def test_times_are_kept(codec: str, tmp_path: Path) -> None:
    """Exactly, or at a constant rate: of 12 frames in a second and a half, those of the same place are left out."""
    times = [*np.arange(10) / 15, 1.0, 1.5]
    with VideoWriter(tmp_path / "a.mp4", 8) as writer:
        for number, time in enumerate(times):
            writer.write(make_frame(number), time)
    video, seen = cv2.VideoCapture(str(tmp_path / "a.mp4")), {}
    while (frame := video.read()[1]) is not None:
        number = int((frame[60, :, 1] > 110).argmax()) // 10
        seen.setdefault(number, video.get(cv2.CAP_PROP_POS_MSEC) / 1000)
    step = 1 / 16 if codec == "mpeg4" else 1e-5
    assert len(seen) == (8 if codec == "mpeg4" else len(times))
    assert seen == pytest.approx({number: times[number] for number in seen}, abs=step + 1e-9)
    assert video.get(cv2.CAP_PROP_FRAME_COUNT) == (13 if codec == "mpeg4" else len(times))


@pytest.mark.parametrize("frame_rate", [7.5, 23.976, 30000 / 1001, 120, 0])
def test_frame_rate_is_kept(codec: str, tmp_path: Path, frame_rate: float) -> None:
    write_frames(tmp_path / "a.mp4", frame_rate, size=(32, 32))
    found = cv2.VideoCapture(str(tmp_path / "a.mp4")).get(cv2.CAP_PROP_FPS)
    assert found == pytest.approx(frame_rate or 25, rel=1e-4)


@pytest.mark.parametrize("size", [(161, 120), (33, 47), (1, 1), (3, 200)])
def test_odd_sizes_repeat_the_last_pixel(codec: str, tmp_path: Path, size: tuple[int, int]) -> None:
    width, height = size
    write_frames(tmp_path / "a.mp4", size=size)
    frames = read_frames(tmp_path / "a.mp4")
    assert len(frames) == NUM_FRAMES
    assert frames[0].shape == (height + height % 2, width + width % 2, 3)
    assert np.abs(frames[0][-1, -1].astype(int) - make_frame(0, *size)[-1, -1]).max() < 20


def test_the_old_file_stays_and_later_frames_take_the_size_of_the_first(codec: str, tmp_path: Path) -> None:
    path = tmp_path / "a.mp4"
    path.write_bytes(b"old")
    with VideoWriter(path, 25) as writer:
        writer.write(make_frame(0))
        writer.write(make_frame(1, 320, 240))
        assert path.read_bytes() == b"old"
    assert [frame.shape for frame in read_frames(path)] == [(120, 160, 3)] * 2
    assert list(tmp_path.iterdir()) == [path]


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
    """Browsers take 4:2:0 only, and start at once if the index (moov) comes before the pictures (mdat)."""
    write_frames(tmp_path / "a.mp4")
    with av.open(str(tmp_path / "a.mp4")) as container:
        assert container.streams.video[0].codec_context.pix_fmt == "yuv420p"
    data = (tmp_path / "a.mp4").read_bytes()
    assert 0 < data.index(b"moov") < data.index(b"mdat")


def test_only_mp4v_warns(codec: str, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    write_frames(tmp_path / "a.mp4")
    assert ["[video]" in message for message in caplog.messages] == [True] * (codec == "mpeg4")
