"""The configs that come with the library."""

from pathlib import Path

from ssd.utils.errors import ConfigError

# Inside of an installed package, or beside it in a checkout.
_PACKAGE = Path(__file__).parents[1]
_FOLDERS = (_PACKAGE / "configs", _PACKAGE.parent / "configs")


def shipped_config(name: str) -> Path:
    """Return the file of a config of the library.

    Args:
        name: its path in configs/, without its suffix, such as "interop/torchvision_ssd300_coco".

    Raises:
        ConfigError: there is none; the installation lacks it.
    """
    for folder in _FOLDERS:
        path = folder / f"{name}.yaml"
        if path.is_file():
            return path
    raise ConfigError(
        f"configs/{name}.yaml is missing from this installation: neither {_FOLDERS[0]} nor {_FOLDERS[1]} has it; "
        "install the library anew, or work in its checkout"
    )
