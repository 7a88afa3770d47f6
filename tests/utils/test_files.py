import errno
import os
import stat
import subprocess
import sys
from contextlib import nullcontext
from pathlib import Path

import pytest

from ssd.utils.files import atomic_write, remove_stale, write_json, write_text

ROOT = Path(__file__).parents[2]


def _write(path: Path, error: type[BaseException] | None = None) -> None:
    with atomic_write(path) as file:
        file.write(b"new")
        file.flush()
        assert path.read_bytes() == b"old"
        if error is not None:
            raise error


@pytest.mark.parametrize("error", [None, OSError, KeyboardInterrupt])
def test_old_content_stays_until_the_end(tmp_path, error) -> None:
    path = tmp_path / "a"
    path.write_bytes(b"old")
    with nullcontext() if error is None else pytest.raises(error):
        _write(path, error)
    assert path.read_bytes() == (b"new" if error is None else b"old")
    assert list(tmp_path.iterdir()) == [path]


def test_the_file_of_a_killed_process_is_removed(tmp_path) -> None:
    path = tmp_path / "a"
    path.write_bytes(b"old")
    code = (
        "import sys, time, pathlib\n"
        "from ssd.utils.files import atomic_write\n"
        "with atomic_write(pathlib.Path(sys.argv[1])) as file:\n"
        "    file.write(b'half'); file.flush(); print('written', flush=True); time.sleep(60)\n"
    )
    command = [sys.executable, "-c", code, str(path)]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "written\n"
        (left,) = tmp_path.glob(".a.*.tmp")
        assert remove_stale(tmp_path) == []  # it is being written
        process.kill()
    assert left.read_bytes() == b"half"
    assert remove_stale(tmp_path) == [left]
    assert list(tmp_path.iterdir()) == [path]
    assert path.read_bytes() == b"old"


def test_other_files_are_not_removed(tmp_path) -> None:
    for name in ("a.pth", ".hidden", ".a.tmp", "a.12.tmp", ".a.12.tmp.txt", ".a.x.tmp"):
        (tmp_path / name).touch()
    (tmp_path / ".folder.12.tmp").mkdir()
    assert remove_stale(tmp_path) == []
    assert remove_stale(tmp_path / "nowhere") == []
    assert len(list(tmp_path.iterdir())) == 7


def test_a_file_system_that_flushes_no_folders(tmp_path, monkeypatch) -> None:
    def fsync(descriptor: int) -> None:
        if stat.S_ISDIR(os.fstat(descriptor).st_mode):
            raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))

    monkeypatch.setattr(os, "fsync", fsync)
    write_text(tmp_path / "a", "text")


@pytest.mark.parametrize("error", [FileNotFoundError, PermissionError])
def test_a_file_renamed_meanwhile_or_of_another_user_stays(tmp_path, monkeypatch, error) -> None:
    def refuse(*_: object) -> None:
        raise error

    (tmp_path / ".a.12.tmp").touch()
    monkeypatch.setattr(Path, "unlink", refuse)
    assert remove_stale(tmp_path) == []


def test_text_is_utf8_and_json_is_strict(tmp_path) -> None:
    path = tmp_path / "metrics.json"
    write_text(path, "Hörnchen")
    assert path.read_bytes() == "Hörnchen".encode()
    write_json(path, {"Hörnchen": 0.5})
    with pytest.raises(ValueError, match="JSON"):
        write_json(path, {"Hörnchen": float("nan")})
    assert path.read_text(encoding="utf-8") == '{"Hörnchen": 0.5}'
