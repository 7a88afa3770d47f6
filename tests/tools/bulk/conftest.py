"""A detector, and images with names that are not easy, one of them damaged."""

import shutil
from pathlib import Path

import pytest

from ssd.utils.image import image_names

ROOT = Path(__file__).parents[3]


@pytest.fixture
def pictures(tmp_path: Path, detector_file: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder "my pictures" of the working directory, with five images and a damaged one; beside it model.pth."""
    monkeypatch.chdir(tmp_path)
    shutil.copy(detector_file, "model.pth")
    folder = Path("my pictures")
    folder.mkdir()
    names = ("a b.jpg", "b.JPG", "bad.png", "d#1%20.jpg", "e[1].jpeg", "ä日.jpg")  # in the order of a listing
    for source, name in zip(image_names(ROOT / "demo"), names, strict=True):
        shutil.copy(ROOT / "demo" / source, folder / name)
    (folder / "bad.png").write_text("not an image")
    return folder
