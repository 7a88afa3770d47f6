"""Fetching files by URL into a cache folder, checked by the hash in their name."""

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

from ssd.utils.atomic import atomic_write
from ssd.utils.errors import DownloadError

logger = logging.getLogger(__name__)

# "resnet50-0676ba61.pth": the first digits of the file's SHA-256, as PyTorch names its files.
_HASH_IN_NAME = re.compile(r"-([0-9a-f]{6,64})\.")
_CHUNK_BYTES = 1 << 20
_TIMEOUT_SECONDS = 30


def is_url(source: str | os.PathLike[str]) -> bool:
    """Whether ``source`` is an http or https URL."""
    return str(source).startswith(("http://", "https://"))


def cache_url(url: str) -> Path:
    """Return the local copy of ``url``, fetching it first if need be.

    The cache is $TORCH_MODEL_ZOO, else $TORCH_HOME/models, else ~/.torch/models; the file keeps the last part of the
    URL's path as its name. If that carries a hash, a cached copy that does not match it is fetched again.

    Raises:
        DownloadError: the URL cannot be fetched, or what came does not have the hash in its name.
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
    except (OSError, http.client.HTTPException, ValueError) as error:  # what urllib, the socket and the disk raise
        raise DownloadError(f"{url}: {error}. {_remedy(path)}") from error
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
    """Stream ``url`` into ``file``; raise DownloadError if less or something else than promised came."""
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
    if not digest.hexdigest().startswith(_promised_hash(name)):
        raise DownloadError(
            f"{url}: the SHA-256 of what came is {digest.hexdigest()}, which is not that in the file name. The file "
            "was changed or damaged; or, if those digits are no hash, fetch the file by hand and give its path."
        )


def _promised_hash(name: str) -> str:
    """The first digits of the SHA-256 that the file must have; empty if its name carries none."""
    match = _HASH_IN_NAME.search(name)
    return match[1] if match else ""


def _is_intact(path: Path) -> bool:
    promised = _promised_hash(path.name)
    return not promised or _sha256(path).startswith(promised)  # without a promise the file need not be read


def _sha256(path: Path) -> str:
    with open(path, "rb") as file:
        digest = hashlib.sha256()
        while chunk := file.read(_CHUNK_BYTES):
            digest.update(chunk)
    return digest.hexdigest()


def _remedy(path: Path) -> str:
    return f"Check the URL and the network, or put the file at {path} by hand (TORCH_HOME moves that folder)."
