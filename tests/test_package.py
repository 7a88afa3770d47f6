"""The installed package: its files, and that it works outside of the repository."""

import os
import re
import subprocess
import sys
import tarfile
import venv
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

import ssd

ROOT = Path(__file__).parents[1]
SMALL = ["SOLVER.MAX_ITER", 20, "SOLVER.WARMUP_ITERS", 5, "MODEL.DEVICE", "cpu", "DATA_LOADER.NUM_WORKERS", 1]


def files_in(folder: str) -> set[str]:
    paths = (path for path in (ROOT / folder).rglob("*") if path.is_file() and path.suffix != ".pyc")
    return {path.relative_to(ROOT).as_posix() for path in paths}


def test_public_names_are_listed_before_they_are_imported() -> None:
    assert set(ssd.__all__) <= set(dir(ssd))
    assert dir(ssd) == sorted(dir(ssd))
    with pytest.raises(AttributeError, match="init_detecter"):
        ssd.init_detecter  # noqa: B018


@pytest.mark.parametrize("command", ["install", "develop", "build", "bdist_wheel"])
def test_an_old_setuptools_asks_for_pip_in_one_line(command: str, tmp_path: Path) -> None:
    """As the 65.5 of Python 3.11, which cannot read the metadata."""
    (tmp_path / "setuptools" / "command").mkdir(parents=True)
    (tmp_path / "setuptools" / "__init__.py").write_text("__version__ = '65.5.0'")
    (tmp_path / "setuptools" / "command" / "build_py.py").write_text("class build_py: pass")
    environment = {**os.environ, "PYTHONPATH": str(tmp_path)}
    run = subprocess.run(
        [sys.executable, "setup.py", command], cwd=ROOT, env=environment, capture_output=True, text=True, check=False
    )
    assert (run.returncode, run.stdout, run.stderr.count("\n")) == (1, "", 1)
    assert "pip install ." in run.stderr


@pytest.fixture(scope="module")
def archives(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A source distribution, and the wheel made of it; built from a copy, so that the tree does not change."""
    pytest.importorskip("build")
    folder = tmp_path_factory.mktemp("package")
    skipped = {"build", "datasets", "dist", "outputs", "site", "ssd_detector.egg-info"}
    (folder / "source").mkdir()
    for path in ROOT.iterdir():
        if path.name not in skipped and not path.name.startswith((".git", ".venv", ".mypy")):
            (folder / "source" / path.name).symlink_to(path)
    command = [sys.executable, "-m", "build", "--no-isolation", "--outdir", folder, folder / "source"]
    run = subprocess.run(command, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stdout + run.stderr
    (wheel,), (source,) = folder.glob("*.whl"), folder.glob("*.tar.gz")
    return wheel, source


def test_files_of_the_archives(archives: tuple[Path, Path]) -> None:
    wheel, source = archives
    with zipfile.ZipFile(wheel) as archive:
        metadata = f"ssd_detector-{ssd.__version__}.dist-info"
        names = {name for name in archive.namelist() if not name.startswith(metadata)}
        assert names == files_in("ssd") | {f"ssd/{name}" for name in files_in("configs")}
        assert f"{metadata}/licenses/LICENSE" in archive.namelist()
        assert b"ssd = ssd.cli:main" in archive.read(f"{metadata}/entry_points.txt")
    with tarfile.open(source) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    for folder in ("ssd", "configs", "tests", "docs", "demo", "benchmarks", ".ci"):
        missing = files_in(folder) - names
        assert not {name for name in missing if not name.startswith("demo/result/")}
    assert {"README.md", "CHANGELOG.md", "LICENSE", "Makefile", "train.py", "test.py", "demo.py"} <= names


def test_versions_agree() -> None:
    """In requirements.txt, pyproject.toml, and for all requirements in the lowest versions that are tested."""
    requirements, metadata = (ROOT / "requirements.txt").read_text(), (ROOT / "pyproject.toml").read_text()
    listed = {line for line in requirements.splitlines() if not line.startswith("#")}
    block = metadata.partition("dependencies = [")[2].partition("]")[0]
    assert listed == set(re.findall(r'^ *"([^"]+)"', block, re.MULTILINE))
    bounds = dict(re.findall(r"^([\w-]+)>=([\d.]+)", requirements, re.MULTILINE))
    extras = dict(re.findall(r'"([\w-]+)>=([\d.]+)"', metadata))
    tried = dict(re.findall(r"^([\w-]+)==([\d.]+)$", (ROOT / ".ci" / "lowest.txt").read_text(), re.MULTILINE))
    assert bounds.items() <= extras.items()
    assert bounds.keys() <= tried.keys()
    for name in tried.keys() & extras.keys():
        assert f"{tried[name]}.0.0".startswith(f"{extras[name]}."), name


@pytest.fixture
def call(archives, tmp_path_factory, monkeypatch):
    """Run a program of an environment with the wheel and its extra onnx in an empty folder; return its output."""
    folder = tmp_path_factory.mktemp("environment")
    venv.create(folder, with_pip=True)
    subprocess.run([folder / "bin" / "python", "-m", "pip", "install", "-q", f"{archives[0]}[onnx]"], check=True)
    monkeypatch.chdir(tmp_path_factory.mktemp("empty"))
    monkeypatch.delenv("PYTHONPATH", raising=False)

    def run(program: str, *args: object) -> str:
        command = [folder / "bin" / program, *map(str, args)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 0, f"{program} {args}\n{done.stdout}\n{done.stderr}"
        return done.stdout

    return run


@pytest.mark.slow
@pytest.mark.network
def test_the_wheel_alone_does_the_quickstart(call: Callable[..., str]) -> None:
    """With the other commands, and shorter."""
    assert "site-packages" in call("ssd", "doctor")
    call("ssd", "data", "scenes", "--output", "datasets/scenes", "--train", 32, "--test", 8)
    call("ssd", "data", "scenes", "--demo", "demo", "--seed", 140)
    call("ssd", "train", "--config-file", "quickstart.yaml", *SMALL)
    assert "mAP" in call("ssd", "test", "--config-file", "configs/quickstart.yaml", *SMALL)
    call("ssd", "demo", "--config-file", "quickstart.yaml", "--score_threshold", 0, "--output_dir", "drawn", *SMALL)
    assert len([*Path("drawn").iterdir()]) == 6

    model = "outputs/quickstart/model_final.pth"
    call("ssd", "export", "--ckpt", model, "-o", "model.onnx", "--skip_latency")
    call("ssd", "predict", "demo", "--ckpt", model, "-o", "found")
    assert any(Path("found").iterdir())
    call("ssd", "data", "split", "datasets/scenes", "-o", "parts", "--write-config", "mine.yaml")
    assert "_BASE_: modern/own_data.yaml" in Path("mine.yaml").read_text()
    call("ssd", "check-data", "mine.yaml")
    call("ssd", "priors", "quickstart.yaml", "--fit", "fitted.yaml")
    assert "_BASE_: quickstart.yaml" in Path("fitted.yaml").read_text()
    call("ssd", "convert", model, "-o", "converted/model.pth")
