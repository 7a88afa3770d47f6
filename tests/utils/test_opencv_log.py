import os
import threading

import pytest

from ssd.utils.image import SILENT, log_levels, silence_ffmpeg, silent_opencv

level = log_levels.getLogLevel


def test_silence_ends_with_the_block_and_by_an_error() -> None:
    before = level()
    assert before != SILENT
    with silent_opencv():
        assert level() == SILENT
    assert level() == before
    with pytest.raises(KeyError), silent_opencv():
        raise KeyError
    assert level() == before


def test_the_last_of_overlapping_threads_restores_the_level() -> None:
    """Each restoring what it found would leave OpenCV silent for good: the second finds silence."""
    before = level()
    first_is_in, second_is_in, first_is_out = threading.Event(), threading.Event(), threading.Event()

    def first() -> None:
        with silent_opencv():
            first_is_in.set()
            second_is_in.wait(10)
        first_is_out.set()

    thread = threading.Thread(target=first)
    thread.start()
    assert first_is_in.wait(10)
    with silent_opencv():
        second_is_in.set()
        assert first_is_out.wait(10)
        assert level() == SILENT
    thread.join()
    assert level() == before


def test_a_level_that_the_user_has_set_for_ffmpeg_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OPENCV_FFMPEG_LOGLEVEL", raising=False)
    silence_ffmpeg()
    assert os.environ["OPENCV_FFMPEG_LOGLEVEL"] == "-8"
    monkeypatch.setenv("OPENCV_FFMPEG_LOGLEVEL", "32")
    silence_ffmpeg()
    assert os.environ["OPENCV_FFMPEG_LOGLEVEL"] == "32"
