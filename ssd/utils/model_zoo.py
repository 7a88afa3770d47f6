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
    DownloadError is raised if that fails or the file does not have the hash in its name.
    """
    name = os.path.basename(urlparse(url).path)
    if not name:
        raise DownloadError(f"{url}: the URL must end in a file name, as in https://host/folder/weights.pth")
    home = os.environ.get("TORCH_HOME", "~/.torch")
    path = Path(os.environ.get("TORCH_MODEL_ZOO", os.path.join(home, "models")), name).expanduser()
    match = _HASH_IN_NAME.search(name)
    expected = match[1] if match else ""
    if path.is_file() and (not expected or _sha256(path).startswith(expected)):
        return path
    logger.info("Downloading %s to %s", url, path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with atomic_write(path) as file:
            _fetch(url, file)
            file.flush()
            digest = _sha256(Path(file.name))
            if not digest.startswith(expected):
                raise DownloadError(
                    f"{url}: the SHA-256 of the file is {digest}, which is not the hash in its name. The file was "
                    "changed or damaged; or, if those digits are no hash, download it by hand and give its path."
                )
    except DownloadError:
        raise
    except (OSError, http.client.HTTPException, ValueError) as error:  # of urllib, the socket and the disk
        remedy = f"Check the URL and the network, or save the file as {path} (TORCH_HOME moves that folder)."
        raise DownloadError(f"{url}: {error}. {remedy}") from error
    return path


def _fetch(url: str, file: BinaryIO) -> None:
    request = urllib.request.Request(url, headers={"User-Agent": "ssd-detector"})
    with urllib.request.urlopen(request, timeout=_TIMEOUT_SECONDS) as response:
        length = int(response.headers.get("Content-Length") or 0)
        # disable=None: a bar on a terminal, nothing in a log file.
        with tqdm(total=length or None, unit="B", unit_scale=True, disable=None) as progress:
            while chunk := response.read(_CHUNK_BYTES):
                file.write(chunk)
                progress.update(len(chunk))
    if file.tell() < length:
        raise OSError(f"the connection broke after {file.tell()} of {length} bytes")


def _sha256(path: Path) -> str:
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while chunk := file.read(_CHUNK_BYTES):
            digest.update(chunk)
    return digest.hexdigest()
