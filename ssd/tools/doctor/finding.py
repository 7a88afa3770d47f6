"""What one check has found."""

from dataclasses import dataclass
from typing import Literal

Status = Literal["ok", "note", "warning", "error"]


@dataclass(frozen=True)
class Finding:
    """What one check has found.

    Attributes:
        name: what was looked at.
        status: "note": as it may be, but good to know. "warning": works, with a drawback. "error": must be mended.
        found: in words.
        remedy: a command or advice; "" = none is needed.
    """

    name: str
    status: Status
    found: str
    remedy: str = ""
