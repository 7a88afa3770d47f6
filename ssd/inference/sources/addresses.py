"""Parts of addresses, and fetching an image from one."""

import base64
import http.client
import urllib.error
import urllib.parse
import urllib.request

import numpy as np

from ssd.inference.sources.still_images import bytes_to_rgb
from ssd.utils.errors import ImageError

_MAX_BYTES = 2**28  # encoded images of read_image's largest size rarely need more than a byte per pixel
_TIMEOUT = 20  # seconds, for the connection and each piece
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


def fetch_image(url: str, max_bytes: int = _MAX_BYTES) -> np.ndarray:
    """Fetch an image over http or https as RGB uint8 (H, W, 3); any failure is an ImageError."""
    name = public_address(url)
    try:
        with urllib.request.urlopen(_make_request(url), timeout=_TIMEOUT) as response:
            content = response.read(max_bytes + 1)
    except urllib.error.HTTPError as error:
        error.close()  # it holds the connection
        raise ImageError(f"{name}: {error}; check the address") from error
    except (OSError, http.client.HTTPException, ValueError) as error:  # of urllib and the socket
        raise ImageError(f"{name}: {error}; check the address and the network") from error
    if len(content) > max_bytes:
        raise ImageError(f"{name}: larger than the limit of {max_bytes} bytes for an image")
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
