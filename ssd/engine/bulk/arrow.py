"""Apache Arrow, which the extra ``parquet`` installs: imported where it is used."""

import importlib
from typing import Any

from ssd.utils.errors import MissingPackageError


def import_arrow(module: str) -> Any:
    """Import ``pyarrow`` or one of its modules.

    Raises:
        MissingPackageError: it is not installed, or broken.
    """
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise MissingPackageError(
            f"{module} cannot be imported ({error}); install it: pip install 'ssd-detector[parquet]'"
        ) from error
