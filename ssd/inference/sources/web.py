"""Addresses: what they say, and fetching an image from one."""

import base64
import http.client
import time
import urllib.error
import urllib.parse
import urllib.request

import numpy as np

from ssd.utils.errors import ImageError
from ssd.utils.image import read_image

_MAX_BYTES = 2**28  # encoded images of read_image's largest size rarely take more than a byte a pixel
_TIMEOUT_SECONDS = 20  # for the connection and each piece
_MAX_SECONDS = 300  # in all; a server may send a byte now and then
_CHUNK_BYTES = 1 << 16
# Kept when an address with spaces or other letters than ASCII is quoted; "%" because it may be quoted already.
_SAFE = "%/:=&?~#+!$,;'@()*[]"


def address_scheme(address: str) -> str:
    """Return what stands before "://", in lower case; empty for a path."""
    scheme, separator, _ = address.partition("://")
    return scheme.lower() if separator else ""


def public_address(address: str) -> str:
    """Return the address without the user's name and password, for messages and results."""
    scheme, _, rest = address.partition("://")
    host, slash, path = rest.partition("/")
    return f"{scheme}://{host.rpartition('@')[2]}{slash}{path}"


def address_path(address: str) -> str:
    """Return the path within an address, without query."""
    _, _, rest = address.partition("://")
    return rest.partition("?")[0].partition("#")[0].partition("/")[2]


def fetch_image(url: str) -> np.ndarray:
    """Fetch an image over http or https, into memory.

    Returns:
        RGB uint8, (H, W, 3).

    Raises:
        ImageError: nothing came, not in time, too much, or no image.
    """
    name = public_address(url)
    try:
        content = _fetch(url)
    except urllib.error.HTTPError as error:
        error.close()  # it is the server's answer too, and holds the connection
        raise ImageError(f"{name}: {error}; check the address") from error
    except (OSError, http.client.HTTPException, ValueError) as error:  # what urllib and the socket raise
        raise ImageError(f"{name}: {error}; check the address and the network") from error
    try:
        return read_image(content)
    except ImageError as error:
        raise ImageError(f"{name}: {error}") from error


def _make_request(url: str) -> urllib.request.Request:
    """With the user's name and password, which urllib does not take from an address, where they belong."""
    quoted = urllib.parse.quote(public_address(url), safe=_SAFE)
    request = urllib.request.Request(quoted, headers={"User-Agent": "ssd-detector"})
    user, separator, _ = url.partition("://")[2].partition("/")[0].rpartition("@")
    if separator:
        token = base64.b64encode(urllib.parse.unquote(user).encode()).decode()
        request.add_unredirected_header("Authorization", f"Basic {token}")
    return request


def _fetch(url: str) -> bytes:
    deadline = time.monotonic() + _MAX_SECONDS
    request = _make_request(url)
    chunks: list[bytes] = []
    num_bytes = 0
    with urllib.request.urlopen(request, timeout=_TIMEOUT_SECONDS) as response:
        length = int(response.headers.get("Content-Length") or 0)
        while num_bytes <= _MAX_BYTES and length <= _MAX_BYTES and (chunk := response.read1(_CHUNK_BYTES)):
            chunks.append(chunk)
            num_bytes += len(chunk)
            if time.monotonic() > deadline:
                raise OSError(f"only {num_bytes} bytes came in {_MAX_SECONDS} seconds")
    if max(num_bytes, length) > _MAX_BYTES:
        raise OSError(f"more than the {_MAX_BYTES} bytes that are fetched for an image")
    if num_bytes < length:
        raise OSError(f"the connection broke after {num_bytes} of {length} bytes")
    return b"".join(chunks)
