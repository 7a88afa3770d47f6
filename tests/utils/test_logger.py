import io
import logging
import re
import subprocess
import sys
from pathlib import Path

import pytest
from tqdm import tqdm

from ssd.utils.logger import describe_seconds, say, say_line, setup_logger

LINE = re.compile(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d,\d{3} ssd\.engine INFO: started 3")


def log(message: str = "started %d", *args: object) -> None:
    logging.getLogger("ssd.engine").info(message, *(args or (3,)))


def test_same_lines_on_stdout_and_in_the_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    handler = logging.StreamHandler(stream := io.StringIO())
    logging.getLogger().addHandler(handler)  # of another library: repeats nothing
    try:
        setup_logger(tmp_path / "new" / "folder")
        log()
    finally:
        logging.getLogger().removeHandler(handler)
    written = (tmp_path / "new" / "folder" / "log.txt").read_text()
    assert LINE.fullmatch(written.strip())
    assert capsys.readouterr().out == written
    assert stream.getvalue() == ""
    log("read %s", "a\udcff.jpg")
    assert (tmp_path / "new" / "folder" / "log.txt").read_text().endswith("read a\\udcff.jpg\n")


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
    assert re.fullmatch(r"rank 1: .*ssd\.data WARNING: a strange box\n", captured.err)
    assert not (tmp_path / "out").exists()


def test_lines_do_not_tear_a_progress_bar(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = io.StringIO()
    monkeypatch.setattr("sys.stdout", terminal)
    monkeypatch.setattr("sys.stderr", terminal)
    setup_logger(tmp_path)
    with tqdm(total=2, file=terminal, mininterval=0) as progress:
        progress.update()
        log()
        progress.update()
    # Each bar is drawn after a carriage return; the text before the log line on its own line is blanked out.
    line = next(line for line in terminal.getvalue().split("\n") if "started 3" in line)
    assert LINE.fullmatch(line.rpartition("\r")[2])
    assert LINE.fullmatch((tmp_path / "log.txt").read_text().strip())


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs Linux' full device")
def test_a_full_disk_is_reported_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "log.txt").symlink_to("/dev/full")
    setup_logger(tmp_path)
    for _ in range(3):
        log()
    setup_logger(None)  # ends the file
    log()
    written = capsys.readouterr()
    assert written.out.count("started 3") == 4
    assert written.err == f"{tmp_path}/log.txt cannot be written: No space left on device\n"


def test_characters_that_the_output_cannot_encode(monkeypatch: pytest.MonkeyPatch) -> None:
    content = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(content, encoding="ascii", write_through=True))
    say("dä\udcff.jpg\n")
    assert content.getvalue().strip() == b"d\\xe4\\udcff.jpg"


@pytest.mark.parametrize("is_there", [True, False])
def test_without_an_output(monkeypatch: pytest.MonkeyPatch, is_there: bool) -> None:
    stream = io.StringIO()
    stream.close()
    monkeypatch.setattr(sys, "stdout", stream if is_there else None)
    say("line\n")
    say_line("line")


def test_a_reader_that_ends_does_not_end_the_work() -> None:
    code = """
import logging
from ssd.utils.logger import say, setup_logger
setup_logger(None)
for number in range(20_000):
    say(f"line {number}\\n")
    logging.getLogger("ssd").info("line %d", number)
import sys
sys.stderr.write("the work is done\\n")
"""
    command = [sys.executable, "-c", code]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        assert process.stdout.readline() == "line 0\n"
        process.stdout.close()
        assert process.stderr.read() == "the work is done\n"
        assert process.wait() == 0


def test_a_terminal_gets_the_message_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = io.StringIO()
    monkeypatch.setattr(terminal, "isatty", lambda: True)
    monkeypatch.setattr("sys.stdout", terminal)
    setup_logger(tmp_path)
    log()
    logger = logging.getLogger("ssd.engine")
    logger.warning("odd")
    for short in ("120/600  loss 3.41", ""):
        logger.info("iter: 000120", extra={"short": short})
    assert terminal.getvalue().split("\n") == ["started 3", "warning: odd", "120/600  loss 3.41", ""]
    assert (tmp_path / "log.txt").read_text().count("iter: 000120") == 2
    times = {9.6: "10 s", 59.9: "1 min", 240: "4 min", 7800: "2 h 10 min"}
    assert {seconds: describe_seconds(seconds) for seconds in times} == times
