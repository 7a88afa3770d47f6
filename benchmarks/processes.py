"""Python processes beside this one."""

import os
from pathlib import Path


def environment_with(folder: Path) -> dict[str, str]:
    """Return this process's environment, in which Python looks for modules in ``folder`` first."""
    paths = [str(folder), *filter(None, [os.environ.get("PYTHONPATH")])]
    return {**os.environ, "PYTHONPATH": os.pathsep.join(paths)}
