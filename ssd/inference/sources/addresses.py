"""Parts of addresses, and fetching an image from one."""

import base64
import http.client
import time
import urllib.error
import urllib.parse
import urllib.request

import numpy as np

from ssd.inference.sources.still_images import bytes_to_rgb
from ssd.utils.errors import ImageError

_MAX_BYTES = 2**28  # encoded images of read_image's largest size rarely need more than a byte per pixel
_MAX_SECONDS = 300  # in total; a slow server may keep sending single bytes
_TIMEOUT = 20  # seconds, for the connection and each piece
_CHUNK_BYTES = 1 << 16
# Kept when an address with spaces or non-ASCII letters is quoted; "%" since it may be quoted already.
_SAFE = "%/:=&?~#+!$,;'@()*[]"


def address_scheme(address: str) -> str:
    """Return the text before "://" in lower case; empty for a path."""
    scheme, separator, _ = address.partition("://")
    return scheme.lower() if separator else ""


def public_address(address: str) -> str:
    """Return the address without user name and password, for messages and results."""
    scheme, _, rest = address.partition("://")
    host, slash, path = rest.partition("/")
    return f"{scheme}://{host.rpartition('@')[2]}{slash}{path}"


def address_path(address: str) -> str:
    """Return the path of an address without its query."""
    _, _, rest = address.partition("://")
    return rest.partition("?")[0].partition("#")[0].partition("/")[2]


def fetch_image(url: str, max_bytes: int = _MAX_BYTES, max_seconds: float = _MAX_SECONDS) -> np.ndarray:
    """Fetch an image over http or https as RGB uint8 (H, W, 3); any failure is an ImageError."""
    name = public_address(url)
    try:
        content = _fetch(url, max_bytes, max_seconds)
    except urllib.error.HTTPError as error:
        error.close()  # it holds the connection
        raise ImageError(f"{name}: {error}; check the address") from error
    except (OSError, http.client.HTTPException, ValueError) as error:  # of urllib and the socket
        raise ImageError(f"{name}: {error}; check the address and the network") from error
    return bytes_to_rgb(content, name)


def _make_request(url: str) -> urllib.request.Request:
    """Return a request whose header carries the address' user name and password, which urllib ignores."""
    quoted = urllib.parse.quote(public_address(url), safe=_SAFE)
    request = urllib.request.Request(quoted, headers={"User-Agent": "ssd-detector"})
    user, separator, _ = url.partition("://")[2].partition("/")[0].rpartition("@")
    if separator:
        token = base64.b64encode(urllib.parse.unquote(user).encode()).decode()
        request.add_unredirected_header("Authorization", f"Basic {token}")
    return request


def _fetch(url: str, max_bytes: int, max_seconds: float) -> bytes:
    deadline = time.monotonic() + max_seconds
    content = bytearray()
    with urllib.request.urlopen(_make_request(url), timeout=_TIMEOUT) as response:
        length = int(response.headers.get("Content-Length") or 0)
        while max(len(content), length) <= max_bytes and (chunk := response.read1(_CHUNK_BYTES)):
            content += chunk
            if time.monotonic() > deadline:
                raise OSError(f"only {len(content)} bytes in {max_seconds} seconds")
    if max(len(content), length) > max_bytes:
        raise OSError(f"larger than the limit of {max_bytes} bytes for an image")
    if len(content) < length:
        raise OSError(f"the connection broke after {len(content)} of {length} bytes")
    return bytes(content)
