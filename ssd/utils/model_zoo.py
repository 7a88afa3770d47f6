"""Download of files into a cache folder, checked by the hash in their name."""

import hashlib
import http.client
import logging
import os
import re
import urllib.error
import urllib.request
from pathlib import Path
from typing import BinaryIO
from urllib.parse import urlparse

from tqdm import tqdm

from ssd.utils.errors import DownloadError
from ssd.utils.files import atomic_write

logger = logging.getLogger(__name__)

# "resnet50-0676ba61.pth": the first digits of the file's SHA-256, as PyTorch names its files.
_HASH_IN_NAME = re.compile(r"-([0-9a-f]{6,64})\.")
_CHUNK_BYTES = 1 << 20
_TIMEOUT_SECONDS = 30


def is_url(source: str | os.PathLike[str]) -> bool:
    """Whether ``source`` is an http or https URL."""
    return str(source).startswith(("http://", "https://"))


def cache_url(url: str) -> Path:
    """Return the local copy of ``url``; fetch it if it is missing or its name carries another hash.

    The cache is $TORCH_MODEL_ZOO, else $TORCH_HOME/models, else ~/.torch/models; the file keeps its name in the URL.

    Raises:
        DownloadError: The URL cannot be fetched, or the file does not have the hash in its name.
    """
    path = _cache_folder() / _file_name(url)
    if path.is_file() and _is_intact(path):
        return path
    logger.info("Downloading %s to %s", url, path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with atomic_write(path) as file:
            _fetch(url, path.name, file)
    except DownloadError:
        raise
    except (OSError, http.client.HTTPException, ValueError) as error:  # of urllib, the socket and the disk
        remedy = f"Check the URL and the network, or save the file as {path} (TORCH_HOME moves that folder)."
        raise DownloadError(f"{url}: {error}. {remedy}") from error
    return path


def _cache_folder() -> Path:
    home = os.environ.get("TORCH_HOME", "~/.torch")
    return Path(os.environ.get("TORCH_MODEL_ZOO", os.path.join(home, "models"))).expanduser()


def _file_name(url: str) -> str:
    name = os.path.basename(urlparse(url).path)
    if not name:
        raise DownloadError(f"{url}: the URL must end in a file name, as in https://host/folder/weights.pth")
    return name


def _fetch(url: str, name: str, file: BinaryIO) -> None:
    digest = hashlib.sha256()
    request = urllib.request.Request(url, headers={"User-Agent": "ssd-detector"})
    with urllib.request.urlopen(request, timeout=_TIMEOUT_SECONDS) as response:
        length = int(response.headers.get("Content-Length") or 0)
        # disable=None: a bar on a terminal, nothing in a log file.
        with tqdm(total=length or None, desc=name, unit="B", unit_scale=True, disable=None) as progress:
            while chunk := response.read(_CHUNK_BYTES):
                file.write(chunk)
                digest.update(chunk)
                progress.update(len(chunk))
    if file.tell() < length:
        raise OSError(f"the connection broke after {file.tell()} of {length} bytes")
    if not digest.hexdigest().startswith(_expected_hash(name)):
        raise DownloadError(
            f"{url}: the SHA-256 of the file is {digest.hexdigest()}, which is not the hash in its name. The file was "
            "changed or damaged; or, if those digits are no hash, download it by hand and give its path."
        )


def _expected_hash(name: str) -> str:
    """Return the first digits of the SHA-256 in the name of a file, or ""."""
    match = _HASH_IN_NAME.search(name)
    return match[1] if match else ""


def _is_intact(path: Path) -> bool:
    expected, digest = _expected_hash(path.name), hashlib.sha256()
    if not expected:
        return True
    with open(path, "rb") as file:
        while chunk := file.read(_CHUNK_BYTES):
            digest.update(chunk)
    return digest.hexdigest().startswith(expected)
