"""The published files of weights that the library knows by name, and the cache that downloads go to."""

import csv
import http.client
import logging
import os
import re
import urllib.error
import urllib.request
from functools import cache
from pathlib import Path
from typing import BinaryIO, NamedTuple
from urllib.parse import urlparse

from tqdm import tqdm

from ssd.utils.errors import DownloadError
from ssd.utils.files import atomic_write, sha256_of

logger = logging.getLogger(__name__)

# "resnet50-0676ba61.pth": the first digits of the file's SHA-256, as PyTorch names its files.
_HASH_IN_NAME = re.compile(r"-([0-9a-f]{6,64})\.")
_CHUNK_BYTES = 1 << 20
_TIMEOUT_SECONDS = 30


def is_url(source: str | os.PathLike[str]) -> bool:
    """Whether ``source`` is an http or https URL."""
    return str(source).startswith(("http://", "https://"))


class ZooModel(NamedTuple):
    """A published detector; a row of model_zoo.csv."""

    name: str  # that commands and configs take, such as "mmdet/ssd512_coco"
    file: str  # name of the file, and its folder if it is in an archive
    url: str  # its address; empty if it is on a drive, or in an archive, that ``page`` links to
    page: str  # of the project
    sha256: str  # digits of the SHA-256 of the file; empty if it is unknown, or part of the name of the file
    network: str
    size: str  # of the input in pixels: side, or height x width
    parameters: str  # in millions
    gmac: str  # billions of multiplications with additions for one image
    data: str  # dataset of the classes
    figure: str  # published accuracy in percent: VOC 2007 test mAP, COCO AP; for faces AP easy, medium and hard
    source: str  # of the figure
    licence: str
    config: str
    # "photographs" = the outputs of the published file on photographs are those of its project's code;
    # "recorded" = the outputs with other weights are.
    verified: str

    def find_cached(self) -> Path | None:
        """Return the local copy, or None; nothing is fetched or checked."""
        path = _cache_folder() / (os.path.basename(urlparse(self.url).path) or self.file)
        return path if path.is_file() else None


@cache
def zoo_models() -> dict[str, ZooModel]:
    """Return the published detectors by name."""
    with open(Path(__file__).with_suffix(".csv"), encoding="utf-8", newline="") as file:
        return {row["name"]: ZooModel(**row) for row in csv.DictReader(file)}


def cache_model(name: str) -> Path:
    """Return the local copy of a published detector, or fetch it; DownloadError if that fails, or it has no address."""
    model = zoo_models()[name]
    if model.url:
        return cache_url(model.url, model.sha256)
    path = model.find_cached()
    if path is None:
        path = _cache_folder() / model.file
        remedy = f"unpack its archive in {_cache_folder()}, to" if "/" in model.file else "save it as"
        raise DownloadError(
            f"{name}: {model.file} has no address to fetch it from. Get it by the links of {model.page} and {remedy} "
            f"{path}"
        )
    return path


def find_cached(url: str) -> Path | None:
    """Return the local copy of ``url``, or None; nothing is fetched or checked."""
    path = _cache_folder() / os.path.basename(urlparse(url).path)
    return path if path.is_file() else None


def cache_url(url: str, sha256: str = "") -> Path:
    """Return the local copy of ``url``; fetch it if it is missing or has another hash.

    The cache is $TORCH_MODEL_ZOO, else $TORCH_HOME/models, else ~/.torch/models; the file keeps its name in the URL.
    Its SHA-256 begins with ``sha256`` or, if that is empty, with the digits in its name. DownloadError is raised if it
    does not, or if the file cannot be fetched.
    """
    name = os.path.basename(urlparse(url).path)
    if not name:
        raise DownloadError(f"{url}: the URL must end in a file name, as in https://host/folder/weights.pth")
    path = _cache_folder() / name
    match = _HASH_IN_NAME.search(name)
    expected = sha256 or (match[1] if match else "")
    if path.is_file() and (not expected or sha256_of(path).startswith(expected)):
        return path
    logger.info("Downloading %s to %s", url, path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with atomic_write(path) as file:
            _fetch(url, file)
            file.flush()
            digest = sha256_of(Path(file.name))
            if not digest.startswith(expected):
                raise DownloadError(
                    f"{url}: the SHA-256 of the file is {digest}, but {expected} is expected. The file was changed or "
                    "damaged; or, if those digits of its name are no hash, download it by hand and give its path."
                )
    except DownloadError:
        raise
    except (OSError, http.client.HTTPException, ValueError) as error:  # of urllib, the socket and the disk
        remedy = f"Check the URL and the network, or save the file as {path} (TORCH_HOME moves that folder)."
        raise DownloadError(f"{url}: {error}. {remedy}") from error
    return path


def _cache_folder() -> Path:
    home = os.environ.get("TORCH_HOME", "~/.torch")
    return Path(os.environ.get("TORCH_MODEL_ZOO", os.path.join(home, "models"))).expanduser()


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
