"""Small images and videos on disk, each frame of its own grey level."""

from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest

WIDTH, HEIGHT, FRAME_RATE = 64, 48, 10.0


def write_frames(path: Path, num_frames: int, codec: str = "MJPG") -> Path:
    """Frame n is of grey level 8 n, with noise in its upper quarter so that frames differ in more than their mean."""
    size = (WIDTH, HEIGHT)
    writer = cv2.VideoWriter(str(path), cv2.CAP_FFMPEG, cv2.VideoWriter_fourcc(*codec), FRAME_RATE, size)
    assert writer.isOpened()
    rng = np.random.default_rng(0)
    for number in range(num_frames):
        frame = np.full((HEIGHT, WIDTH, 3), 8 * number, np.uint8)
        frame[: HEIGHT // 4] = rng.integers(0, 256, (HEIGHT // 4, WIDTH, 3))
        writer.write(frame)
    writer.release()
    return path


@pytest.fixture(scope="session")
def video(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Thirty frames of 64 x 48 pixels, ten a second; an AVI, whose header comes first."""
    return write_frames(tmp_path_factory.mktemp("videos") / "street.avi", 30)


@pytest.fixture
def write_image_file(tmp_path: Path) -> Callable[..., Path]:
    """Write a PNG of one grey level, 8 x 6 pixels; returns its path."""

    def write(name: str, level: int = 0) -> Path:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(cv2.imencode(".png", np.full((6, 8, 3), level, np.uint8))[1].tobytes())
        return path

    return write
