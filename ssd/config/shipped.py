"""The configs that come with the library, found by their name from anywhere."""

import difflib
import os
from pathlib import Path

from ssd.utils.errors import ConfigError

# Inside of an installed package, or beside it in a checkout.
_PACKAGE = Path(__file__).parents[1]
_FOLDERS = (_PACKAGE / "configs", _PACKAGE.parent / "configs")
_PREFIX = "configs"  # a name may begin with it, as in a checkout
_SIMILAR = 0.7  # of names, by difflib


def shipped_config(name: str) -> Path:
    """Return the file of a config of the library.

    Args:
        name: its path in configs/, without its suffix, such as "interop/torchvision_ssd300_coco".

    Raises:
        ConfigError: there is none; the installation lacks it.
    """
    path = _find_shipped(f"{name}.yaml")
    if path is None:
        raise ConfigError(
            f"configs/{name}.yaml is missing from this installation: neither {_FOLDERS[0]} nor {_FOLDERS[1]} has it; "
            "install the library anew, or work in its checkout"
        )
    return path


def shipped_names() -> list[str]:
    """Return the paths of the library's configs in configs/, such as "examples/own_data.yaml", sorted."""
    return sorted({path.relative_to(folder).as_posix() for folder in _FOLDERS for path in folder.rglob("*.yaml")})


def find_config(path: str | os.PathLike[str]) -> Path:
    """Return the file that a path means: the one there, else the library's of this name.

    Args:
        path: of a file, or the path of a shipped config in configs/, which may begin with "configs/".

    Returns:
        An existing file, or ``path`` itself where there is none of either kind.
    """
    path = Path(path)
    return path if os.path.isfile(path) else _find_shipped(path) or path


def find_base(base: str, folder: Path) -> Path:
    """Return the file that a ``_BASE_`` in a config of ``folder`` means; see ``find_config``."""
    path = folder / os.path.expanduser(base)
    return path if os.path.isfile(path) else _find_shipped(base) or path


def base_text(base: str | os.PathLike[str], target: Path) -> str:
    """Return what ``_BASE_`` says in the config ``target`` to mean the config ``base``.

    It is the name of a shipped config, which holds on another machine too, else a path relative to target's folder.
    """
    found = find_config(base).resolve()
    for folder in _FOLDERS:
        if found.is_relative_to(folder.resolve()):
            name = found.relative_to(folder.resolve()).as_posix()
            if find_base(name, target.parent).resolve() == found:  # the user has no other file of this name there
                return name
    return Path(os.path.relpath(found, target.resolve().parent)).as_posix()


def similar_configs(path: str | os.PathLike[str]) -> str:
    """Return "; did you mean A or B?" with the files beside a path and the shipped configs of similar names."""
    path = Path(path)
    folder = os.listdir(path.parent) if os.path.isdir(path.parent) else []
    files = [path.parent / name for name in sorted(folder) if name.endswith((".yaml", ".yml"))]
    shown = {os.path.realpath(file): str(file) for file in files}
    for name in shipped_names():
        shown.setdefault(os.path.realpath(shipped_config(name.removesuffix(".yaml"))), name)
    ratios = {name: difflib.SequenceMatcher(None, Path(name).stem, path.stem).ratio() for name in shown.values()}
    nearest = sorted((name for name in ratios if ratios[name] > _SIMILAR), key=lambda name: -ratios[name])[:3]
    return f"; did you mean {' or '.join(nearest)}?" if nearest else ""


def _find_shipped(name: str | os.PathLike[str]) -> Path | None:
    name = _shipped_name(name)
    if not name or ".." in Path(name).parts:
        return None
    return next((folder / name for folder in _FOLDERS if os.path.isfile(folder / name)), None)


def _shipped_name(path: str | os.PathLike[str]) -> str:
    """A path without "configs/"; of one that is not relative nothing."""
    path = Path(path)
    if path.is_absolute():
        return ""
    return path.relative_to(_PREFIX).as_posix() if path.parts[:1] == (_PREFIX,) else path.as_posix()
