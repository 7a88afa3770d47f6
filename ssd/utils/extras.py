"""Packages that only some users need, imported where they are used."""

import importlib
from pathlib import Path
from typing import Any

from ssd.utils.errors import MissingPackageError

_CHECKOUT = Path(__file__).parents[2] / "pyproject.toml"


def import_extra(package: str, extra: str) -> Any:
    """Import an optional package, or a module of it.

    Args:
        package: its name.
        extra: of ours, that installs it.

    Raises:
        MissingPackageError: it is not installed, or broken.
    """
    try:
        return importlib.import_module(package)
    except ImportError as error:
        raise MissingPackageError(
            f"{package} cannot be imported ({error}); install it: {install_command(extra)}"
        ) from error


def install_command(extra: str) -> str:
    """Return the command that installs an extra: of a checkout, in its folder; else of the installed package."""
    return f"pip install -e '.[{extra}]'" if _CHECKOUT.is_file() else f"pip install 'ssd-detector[{extra}]'"
