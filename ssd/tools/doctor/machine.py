"""What the machine offers: shared memory, room and rights on the disk, the driver of a GPU."""

import os
import shutil
import subprocess
import tempfile
from pathlib import Path

from ssd.tools.doctor.finding import Finding

_SHARED_MEMORY = Path("/dev/shm")
_ENOUGH_SHARED = 512 * 2**20  # bytes: eight workers with two batches of 32 images of 512x512 pixels have 400 MB
_ENOUGH_FREE = 2 * 2**30  # bytes: weights to start from, and checkpoints of VGG with the optimizer's state
_GIB = 2**30


def check_shared_memory() -> Finding | None:
    """Tell the size of what loader workers hand their batches over in; None on systems without it."""
    if not _SHARED_MEMORY.is_dir():
        return None
    usage = shutil.disk_usage(_SHARED_MEMORY)
    found = f"{_SHARED_MEMORY}: {_size(usage.free)} of {_size(usage.total)} free"
    if usage.free < _ENOUGH_SHARED:
        remedy = "in Docker: --shm-size 2g, or --ipc host; else DATA_LOADER.NUM_WORKERS 0, which needs none"
        return Finding("shared memory", "warning", f"{found}; workers of a loader may die of a bus error", remedy)
    return Finding("shared memory", "ok", found)


def check_folders() -> list[Finding]:
    """Tell whether the folders that the library writes to can be written to, and have room."""
    return [
        _check_folder("this folder", Path.cwd(), "work in another folder, or set OUTPUT_DIR"),
        _check_folder("temporary files", Path(tempfile.gettempdir()), "set TMPDIR to a folder of your own"),
        _check_folder("fetched weights", _weights_folder(), "set TORCH_HOME to a folder of your own"),
    ]


def read_driver() -> str | None:
    """Return the NVIDIA driver's version and its GPUs in words; None if there is no driver."""
    command = ["nvidia-smi", "--query-gpu=driver_version,name", "--format=csv,noheader"]
    try:
        run = subprocess.run(command, capture_output=True, text=True, timeout=20, check=True)
    except (OSError, subprocess.SubprocessError):
        return "NVIDIA driver" if Path("/proc/driver/nvidia/version").exists() else None
    rows = [line.split(", ", 1) for line in run.stdout.splitlines() if ", " in line]
    return f"NVIDIA driver {rows[0][0]}, {', '.join(row[1] for row in rows)}" if rows else None


def _weights_folder() -> Path:
    """The cache of ``ssd.utils.model_zoo``, whose imports may be what is broken here."""
    home = os.environ.get("TORCH_HOME", "~/.torch")
    return Path(os.environ.get("TORCH_MODEL_ZOO", os.path.join(home, "models"))).expanduser()


def _check_folder(name: str, folder: Path, remedy: str) -> Finding:
    existing = next(path for path in (folder, *folder.absolute().parents) if path.exists())
    try:
        with tempfile.TemporaryFile(dir=existing):
            pass
        free = shutil.disk_usage(existing).free
    except OSError as error:
        return Finding(name, "warning", f"{folder} cannot be written to: {error.strerror}", remedy)
    if free < _ENOUGH_FREE:
        return Finding(name, "warning", f"{folder}: only {_size(free)} free", f"make room, or {remedy}")
    return Finding(name, "ok", f"{folder}: can be written to, {_size(free)} free")


def _size(num_bytes: int) -> str:
    return f"{num_bytes / _GIB:.1f} GiB" if num_bytes >= _GIB else f"{num_bytes / 2**20:.0f} MiB"
