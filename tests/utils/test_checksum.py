import zipfile
from pathlib import Path

import pytest
import torch

from ssd.utils.checkpoint_file import check_records, read_checkpoint, write_checkpoint
from ssd.utils.errors import CheckpointError

CHECKPOINT = {"model": {"a": torch.arange(40.0), "b": torch.ones(3)}, "iteration": 7, "config": "X: 1"}


def equal(left: dict, right: dict) -> bool:
    tensors = all(torch.equal(left["model"][name], right["model"][name]) for name in "ab")
    return tensors and {**left, "model": 0} == {**right, "model": 0}


def test_no_changed_byte_gives_other_content(tmp_path: Path) -> None:
    """Each byte of the file in turn: it is noticed, or lies between the records and means nothing."""
    path = tmp_path / "a.pth"
    write_checkpoint(path, CHECKPOINT)
    whole = path.read_bytes()
    first, last = (whole.index(CHECKPOINT["model"][name].numpy().tobytes()) for name in "ab")
    noticed = set()
    for position in range(len(whole)):
        mask = (0x01, 0x10, 0xFF)[position % 3]
        path.write_bytes(whole[:position] + bytes([whole[position] ^ mask]) + whole[position + 1 :])
        try:
            assert equal(read_checkpoint(path), CHECKPOINT), position
        except CheckpointError:
            noticed.add(position)
    assert noticed >= {*range(first, first + 160), *range(last, last + 12)}


def test_no_truncated_file_is_read(tmp_path: Path) -> None:
    path = tmp_path / "a.pth"
    write_checkpoint(path, CHECKPOINT)
    whole = path.read_bytes()
    for length in range(0, len(whole), 7):
        path.write_bytes(whole[:length])
        with pytest.raises(CheckpointError):
            read_checkpoint(path)


def test_torch_itself_looks_at_no_checksum(tmp_path: Path) -> None:
    """Should it begin to, ours are needed no more."""
    path = tmp_path / "a.pth"
    write_checkpoint(path, CHECKPOINT)
    data = bytearray(path.read_bytes())
    data[data.index(CHECKPOINT["model"]["a"].numpy().tobytes()) + 5] ^= 1
    path.write_bytes(data)
    assert not torch.equal(torch.load(path)["model"]["a"], CHECKPOINT["model"]["a"])
    with pytest.raises(CheckpointError, match=r"a\.pth: damaged, the checksum of its record a\S*/data/0 does not fit"):
        read_checkpoint(path)


def test_files_without_checksums_are_read(tmp_path: Path) -> None:
    """The format before PyTorch 1.6, as lufficc/SSD's releases have it, and checksums that were switched off."""
    torch.save(CHECKPOINT, tmp_path / "old.pth", _use_new_zipfile_serialization=False)
    assert not zipfile.is_zipfile(tmp_path / "old.pth")
    assert equal(read_checkpoint(tmp_path / "old.pth"), CHECKPOINT)
    torch.serialization.set_crc32_options(False)
    try:
        torch.save(CHECKPOINT, tmp_path / "off.pth")
    finally:
        torch.serialization.set_crc32_options(True)
    assert zipfile.ZipFile(tmp_path / "off.pth").testzip() is not None
    assert equal(read_checkpoint(tmp_path / "off.pth"), CHECKPOINT)


def test_a_bomb_is_not_unpacked(tmp_path: Path) -> None:
    """A file of 260 kB would fill 256 MB."""
    path = tmp_path / "bomb.pth"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive, archive.open("bomb/data.pkl", "w") as record:
        for _ in range(256):
            record.write(bytes(2**20))
    assert path.stat().st_size < 2**19
    with pytest.raises(CheckpointError, match=r"bomb\.pth: its records are packed or overlap"):
        read_checkpoint(path)


def test_records_do_not_overlap(tmp_path: Path) -> None:
    """Many names for one record would be as many copies of it in memory."""
    path = tmp_path / "a.pth"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("a/data/0", bytes(10000))
        for number in range(1, 50):
            info = zipfile.ZipInfo(f"a/data/{number}")
            info.file_size = info.compress_size = 10000
            info.CRC, info.header_offset = archive.infolist()[0].CRC, 0
            archive.filelist.append(info)
            archive.NameToInfo[info.filename] = info
    with pytest.raises(CheckpointError, match="overlap"):
        check_records(path, "a.pth")
