"""The checksums inside of the files that torch.save writes, which torch.load does not look at."""

import os
import zipfile

from ssd.utils.errors import CheckpointError

_IS_FOLDER = 0x10  # an attribute of a record, by which torch.load returns whatever lies in memory


def check_records(path: str | os.PathLike[str], source: str) -> None:
    """Compare each record of a zip archive with the CRC-32 that was written with it.

    Files that have none are left alone: those from before PyTorch 1.6, which are no archives, and those saved under
    ``torch.serialization.set_crc32_options(False)``.

    Args:
        path: the file.
        source: where it comes from, for messages.

    Raises:
        CheckpointError: a record is damaged; or it is packed, which torch.save does not do but a bomb would.
        zipfile.BadZipFile: the archive's own structure is damaged.
    """
    if not zipfile.is_zipfile(path):
        return
    with zipfile.ZipFile(path) as archive:
        records = archive.infolist()
        is_packed = any(record.compress_type != zipfile.ZIP_STORED for record in records)
        if is_packed or sum(record.file_size for record in records) > os.path.getsize(path):
            raise CheckpointError(f"{source}: its records are packed or overlap, as torch.save never writes them")
        folders = [record.filename for record in records if record.external_attr & _IS_FOLDER]
        damaged = archive.testzip() if any(record.CRC for record in records) else None
    if damaged is not None or folders:
        name = damaged or folders[0]
        raise CheckpointError(f"{source}: damaged, the checksum of its record {name} does not fit; fetch it again")
