"""What metadata alone tells: versions, the pair of torch and torchvision, builds of OpenCV, extras."""

import re
import sys
from importlib import metadata
from pathlib import Path

import pytest

from ssd.tools.doctor import packages, requirements
from ssd.tools.doctor.packages import (
    check_extras,
    check_opencv_builds,
    check_pair,
    check_python,
    check_version,
)
from ssd.tools.doctor.probes import MODULES
from ssd.tools.doctor.requirements import Requirement, installed_versions, read_requirements, release

ROOT = Path(__file__).parents[3]


@pytest.mark.parametrize(
    ("version", "numbers"),
    [("2.11", (2, 11)), ("2.11.0+cpu", (2, 11)), ("2.11.0rc1", (2, 11)), ("4.11.0.86", (4, 11, 0, 86)), ("", ())],
)
def test_release(version: str, numbers: tuple[int, ...]) -> None:
    assert release(version) == numbers


class TestRequirements:
    def test_of_the_metadata(self, monkeypatch: pytest.MonkeyPatch) -> None:
        lines = ["torch>=2.11", "Py_YAML (>=6.0)", 'ray[data]>=2.40; extra == "ray"', 'ruff; extra == "dev"', "tqdm"]
        monkeypatch.setattr(metadata, "requires", lambda _: lines)
        assert read_requirements() == [
            ("torch", "2.11", ""),
            ("py-yaml", "6.0", ""),
            ("ray", "2.40", "ray"),
            ("tqdm", "", ""),
        ]

    def test_of_a_checkout_that_is_not_installed(self, monkeypatch: pytest.MonkeyPatch) -> None:
        def raise_missing(_: str) -> None:
            raise metadata.PackageNotFoundError

        monkeypatch.setattr(metadata, "requires", raise_missing)
        text = (ROOT / "requirements.txt").read_text()
        assert read_requirements() == [(name.lower(), lowest, "") for name, lowest in re.findall("(.+)>=(.+)", text)]
        assert {name for name, _, _ in read_requirements()} == {*MODULES}

    def test_nothing_to_read(self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
        monkeypatch.setattr(requirements, "_FILE", tmp_path / "requirements.txt")
        monkeypatch.setattr(requirements, "_DISTRIBUTION", "no-such-distribution")
        assert read_requirements() == []

    def test_the_first_of_two_is_what_is_imported(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        folder = tmp_path / "py_yaml-0.1.dist-info"
        folder.mkdir()
        (folder / "METADATA").write_text("Name: PyYAML\nVersion: 0.1\n")
        (tmp_path / "half_removed-1.0.dist-info").mkdir()
        monkeypatch.syspath_prepend(tmp_path)
        assert installed_versions()["pyyaml"] == "0.1"


class TestVersions:
    TORCH = Requirement("torch", "2.11", "")
    OPENCV = Requirement("opencv-python", "4.11", "")

    def test_python(self, monkeypatch: pytest.MonkeyPatch) -> None:
        assert check_python().status == "ok"
        monkeypatch.setattr(sys, "version_info", (3, 9, 1))
        assert (check_python().status, check_python().remedy[:21]) == ("error", "Python 3.10 or newer ")

    def test_recent_enough(self) -> None:
        finding = check_version(self.TORCH, {"torch": "2.11.0+cpu"})
        assert (finding.status, finding.found) == ("ok", "2.11.0+cpu")

    def test_too_old(self) -> None:
        finding = check_version(self.TORCH, {"torch": "2.9.1"})
        assert (finding.status, finding.found) == ("error", "2.9.1, older than 2.11")
        assert finding.remedy == "pip install --upgrade 'torch>=2.11'"

    def test_absent(self) -> None:
        finding = check_version(self.TORCH, {"torchvision": "0.26.0"})
        assert (finding.status, finding.found) == ("error", "not installed")
        assert finding.remedy == "pip install 'torch>=2.11'"

    def test_opencv_without_windows_is_opencv(self) -> None:
        finding = check_version(self.OPENCV, {"opencv-python-headless": "4.12.0.88"})
        assert (finding.status, finding.found) == ("ok", "4.12.0.88 (opencv-python-headless)")
        finding = check_version(self.OPENCV, {"opencv-python-headless": "4.10.0.84"})
        assert finding.remedy == "pip install --upgrade 'opencv-python-headless>=4.11'"


class TestPair:
    @pytest.fixture(autouse=True)
    def built_for(self, monkeypatch: pytest.MonkeyPatch) -> None:
        lines = ["numpy", "torch==2.15.0", "pillow!=8.3.*,>=5.3.0", 'gdown>=4.7.3; extra == "gdown"']
        monkeypatch.setattr(packages.metadata, "requires", lambda _: lines)

    @pytest.mark.parametrize("torch", ["2.15.0", "2.15.0+cu130"])
    def test_together(self, torch: str) -> None:
        build = torch.removeprefix("2.15.0")
        finding = check_pair({"torch": torch, "torchvision": f"0.30.0{build}"})
        assert finding is not None
        assert finding.status == "ok"

    def test_another_torch(self) -> None:
        finding = check_pair({"torch": "2.14.1", "torchvision": "0.30.0"})
        assert finding is not None
        assert finding.status == "error"
        assert "torch 2.14.1 and torchvision 0.30.0 do not belong together" in finding.found
        assert "is built for torch 2.15.0" in finding.found
        assert finding.remedy.endswith("pip install --force-reinstall torch torchvision")

    def test_another_index(self) -> None:
        finding = check_pair({"torch": "2.15.0+cpu", "torchvision": "0.30.0"})
        assert finding is not None
        assert finding.status == "warning"
        assert "different indexes (builds: cpu and none named)" in finding.found

    def test_one_alone(self) -> None:
        assert check_pair({"torch": "2.15.0"}) is None


class TestOpenCvBuilds:
    def test_one(self) -> None:
        assert check_opencv_builds({"opencv-python": "5.0.0.93", "numpy": "2.4"}) is None

    @pytest.mark.parametrize(
        ("builds", "has_gl", "kept"),
        [
            (["opencv-python", "opencv-python-headless"], True, "opencv-python"),
            (["opencv-python", "opencv-python-headless"], False, "opencv-python-headless"),
            (["opencv-python", "opencv-contrib-python"], False, "opencv-contrib-python"),
            (["opencv-contrib-python-headless", "opencv-python"], False, "opencv-contrib-python-headless"),
        ],
    )
    def test_several(self, builds: list[str], has_gl: bool, kept: str, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(packages.ctypes.util, "find_library", lambda _: "libGL.so.1" if has_gl else None)
        finding = check_opencv_builds(dict.fromkeys(builds, "4.12.0.88"))
        assert finding is not None
        assert finding.status == "warning"
        assert all(f"{name} 4.12.0.88" in finding.found for name in builds)
        removal, installation = finding.remedy.split(" && ")
        assert {*removal.split()} >= {*builds}
        assert installation == f"pip install {kept}"


class TestExtras:
    ALL = (Requirement("torch", "2.11", ""), Requirement("timm", "1.0", "timm"), Requirement("av", "14", "video"))

    def test_each(self) -> None:
        timm, video = check_extras(self.ALL, {"torch": "2.15.0", "timm": "1.0.3"})
        assert (timm.name, timm.status, timm.found) == ("extra timm", "ok", "timm 1.0.3")
        assert (video.name, video.status, video.found) == ("extra video", "note", "absent: av")
        assert "[video]'" in video.remedy

    def test_too_old(self) -> None:
        finding = check_extras(self.ALL, {"timm": "0.9.16", "av": "14.0"})[0]
        assert (finding.status, finding.found) == ("warning", "timm 0.9.16 is older than 1.0")

    def test_not_known(self) -> None:
        (finding,) = check_extras(self.ALL[:1], {})
        assert (finding.status, finding.remedy) == ("note", "in a checkout: pip install -e .")
