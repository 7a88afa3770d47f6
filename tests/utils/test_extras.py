"""Packages that may be missing: the message has the command that installs them."""

from pathlib import Path

import pytest

from ssd.utils import extras
from ssd.utils.errors import MissingPackageError, import_extra


@pytest.mark.parametrize(
    ("is_checkout", "command"),
    [(True, r"pip install -e '\.\[timm\]'"), (False, r"pip install 'ssd-detector\[timm\]'")],
)
def test_the_command_fits_the_installation(
    is_checkout: bool, command: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if is_checkout:
        (tmp_path / "pyproject.toml").touch()
    monkeypatch.setattr(extras, "_CHECKOUT", tmp_path / "pyproject.toml")
    with pytest.raises(MissingPackageError, match=rf"no_such_package cannot be imported .*; install it: {command}$"):
        import_extra("no_such_package", "timm")


def test_what_is_there_is_imported() -> None:
    assert import_extra("os.path", "timm").join("a", "b") == str(Path("a", "b"))
