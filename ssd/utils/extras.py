"""Packages that only some users need, imported where they are used."""

import importlib
from typing import Any

from ssd.utils.errors import MissingPackageError


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
            f"{package} cannot be imported ({error}); install it, in the repository: pip install -e '.[{extra}]'"
        ) from error
