import io
import logging
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from tqdm import tqdm

from ssd.utils.logger import setup_logger

LINE = re.compile(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d,\d{3} ssd\.engine INFO: started 3")


@pytest.fixture(autouse=True)
def _restored_logger() -> Iterator[None]:
    logger = logging.getLogger("ssd")
    saved = logger.level, logger.propagate
    yield
    for handler in list(logger.handlers):
        logger.removeHandler(handler)
        handler.close()
    logger.setLevel(saved[0])
    logger.propagate = saved[1]


def log(message: str = "started %d", *args: object) -> None:
    logging.getLogger("ssd.engine").info(message, *(args or (3,)))


def test_same_lines_on_stdout_and_in_the_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    setup_logger(tmp_path / "new" / "folder")
    log()
    written = (tmp_path / "new" / "folder" / "log.txt").read_text()
    assert LINE.fullmatch(written.strip())
    assert capsys.readouterr().out == written


def test_a_second_call_replaces_the_first(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "log.txt").write_text("earlier\n")
    setup_logger(tmp_path / "a")
    setup_logger(tmp_path / "b")
    log()
    setup_logger(None)
    log()
    assert (tmp_path / "a" / "log.txt").read_text() == ""
    earlier, line = (tmp_path / "b" / "log.txt").read_text().splitlines()
    assert (earlier, LINE.fullmatch(line) is not None) == ("earlier", True)
    assert len(capsys.readouterr().out.splitlines()) == 2


def test_other_ranks_only_warn_and_with_their_rank(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    setup_logger(tmp_path / "out", rank=1)
    log()
    logging.getLogger("ssd.data").warning("a strange box")
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith("rank 1: ")
    assert captured.err.endswith("ssd.data WARNING: a strange box\n")
    assert captured.err.count("\n") == 1
    assert not (tmp_path / "out").exists()


def test_root_logger_does_not_repeat_lines(capsys: pytest.CaptureFixture[str]) -> None:
    handler = logging.StreamHandler(stream := io.StringIO())
    logging.getLogger().addHandler(handler)
    try:
        setup_logger(None)
        log()
    finally:
        logging.getLogger().removeHandler(handler)
    assert stream.getvalue() == ""
    assert len(capsys.readouterr().out.splitlines()) == 1


def test_lines_do_not_tear_a_progress_bar(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = io.StringIO()
    monkeypatch.setattr("sys.stdout", terminal)
    monkeypatch.setattr("sys.stderr", terminal)
    setup_logger(tmp_path)
    with tqdm(total=2, file=terminal, mininterval=0) as progress:
        progress.update()
        log()
        progress.update()
    # Each bar is drawn after a carriage return: what stands before the log line on its own line is blanked out.
    line = next(line for line in terminal.getvalue().split("\n") if "started 3" in line)
    assert LINE.fullmatch(line.rpartition("\r")[2])
    assert LINE.fullmatch((tmp_path / "log.txt").read_text().strip())


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs Linux' full device")
def test_a_full_disk_is_complained_of_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "log.txt").symlink_to("/dev/full")
    setup_logger(tmp_path)
    for _ in range(3):
        log()
    setup_logger(None)  # ends the file
    log()
    written = capsys.readouterr()
    assert written.out.count("started 3") == 4
    assert written.err == f"{tmp_path}/log.txt cannot be written: No space left on device\n"


def test_names_that_are_no_unicode_are_written_escaped(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    setup_logger(tmp_path)
    log("read %s", "a\udcff.jpg")
    assert (tmp_path / "log.txt").read_text().endswith("read a\\udcff.jpg\n")
    assert capsys.readouterr().err == ""
