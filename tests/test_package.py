"""What an installation consists of, and that it works outside of the repository."""

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
PACKAGE = [path.relative_to(ROOT).as_posix() for path in (ROOT / "ssd").rglob("*") if path.is_file()]
CONFIGS = [path.relative_to(ROOT).as_posix() for path in (ROOT / "configs").rglob("*.yaml")]
SMALL = ["SOLVER.MAX_ITER", 20, "SOLVER.WARMUP_ITERS", 5, "MODEL.DEVICE", "cpu", "DATA_LOADER.NUM_WORKERS", 1]


def test_public_names_are_listed_before_they_are_imported() -> None:
    assert set(ssd.__all__) <= set(dir(ssd))
    assert dir(ssd) == sorted(dir(ssd))
    with pytest.raises(AttributeError, match="module 'ssd' has no attribute 'init_detecter'"):
        ssd.init_detecter  # noqa: B018


@pytest.fixture(scope="module")
def archives(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A source distribution, and the wheel made of it; built from a copy, which leaves the tree as it is."""
    pytest.importorskip("build")
    folder = tmp_path_factory.mktemp("package")
    links = {path.name: path for path in ROOT.iterdir() if not path.name.startswith((".git", ".venv", ".mypy"))}
    left_out = {"build", "datasets", "dist", "outputs", "site", "ssd_detector.egg-info"}
    (folder / "source").mkdir()
    for name in links.keys() - left_out:
        (folder / "source" / name).symlink_to(links[name])
    command = [sys.executable, "-m", "build", "--no-isolation", "--outdir", folder, folder / "source"]
    run = subprocess.run(command, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stdout + run.stderr
    (wheel,), (source,) = folder.glob("*.whl"), folder.glob("*.tar.gz")
    return {"wheel": wheel, "source": source}


def test_the_wheel_has_the_package_and_the_configs(archives: dict[str, Path]) -> None:
    names = zipfile.ZipFile(archives["wheel"]).namelist()
    metadata = f"ssd_detector-{ssd.__version__}.dist-info"
    assert {name for name in names if not name.startswith(metadata)} == {
        *(name for name in PACKAGE if not name.endswith(".pyc")),
        *(f"ssd/{name}" for name in CONFIGS),
    }
    assert f"{metadata}/licenses/LICENSE" in names
    assert b"ssd = ssd.cli:main" in zipfile.ZipFile(archives["wheel"]).read(f"{metadata}/entry_points.txt")


def test_the_source_distribution_has_what_its_tests_need(archives: dict[str, Path]) -> None:
    with tarfile.open(archives["source"]) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    for folder in ("ssd", "configs", "tests", "docs", "demo", "benchmarks", ".ci"):
        tree = (ROOT / folder).rglob("*")
        files = {path.relative_to(ROOT).as_posix() for path in tree if path.is_file() and path.suffix != ".pyc"}
        files -= {name for name in files if name.startswith("demo/result/")}
        assert files <= names, sorted(files - names)[:5]
    assert {"README.md", "CHANGELOG.md", "LICENSE", "Makefile", "train.py", "test.py", "demo.py"} <= names


def test_the_lowest_versions_are_those_of_the_metadata() -> None:
    """Of what the library needs all, and of the extras those that are tried at their lowest."""
    bounds = dict(re.findall(r"^([\w-]+)>=([\d.]+)", (ROOT / "requirements.txt").read_text(), re.MULTILINE))
    extras = dict(re.findall(r'"([\w-]+)>=([\d.]+)"', (ROOT / "pyproject.toml").read_text()))
    assert bounds.items() <= extras.items()
    tried = dict(re.findall(r"^([\w-]+)==([\d.]+)$", (ROOT / ".ci" / "lowest.txt").read_text(), re.MULTILINE))
    assert bounds.keys() <= tried.keys()
    for name in tried.keys() & extras.keys():
        assert f"{tried[name]}.0.0".startswith(f"{extras[name]}."), name


@pytest.fixture(scope="module")
def installed(archives: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the programs of an environment that has the wheel, its requirements and the extra onnx."""
    folder = tmp_path_factory.mktemp("environment")
    venv.create(folder, with_pip=True)
    command = [folder / "bin" / "python", "-m", "pip", "install", "-q", f"{archives['wheel']}[onnx]"]
    subprocess.run(command, check=True)
    return folder / "bin"


@pytest.fixture
def call(installed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., str]:
    """Run a program of that environment in an empty folder, and return what it writes."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("PYTHONPATH", raising=False)

    def run(program: str, *args: object) -> str:
        command = [installed / program, *map(str, args)]
        done = subprocess.run(command, capture_output=True, text=True, env={**os.environ}, check=False)
        assert done.returncode == 0, f"{program} {args}\n{done.stdout}\n{done.stderr}"
        return done.stdout

    return run


@pytest.mark.slow
@pytest.mark.network
def test_the_wheel_alone_does_the_quickstart(call: Callable[..., str]) -> None:
    """And what users do next; only its lengths are smaller."""
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
    assert "_BASE_: examples/own_data.yaml" in Path("mine.yaml").read_text()
    call("ssd", "check-data", "mine.yaml")
    call("ssd", "priors", "quickstart.yaml", "--fit", "fitted.yaml")
    assert "_BASE_: quickstart.yaml" in Path("fitted.yaml").read_text()
    call("ssd", "convert", model, "-o", "converted/model.pth")
    call("ssd", "reproduce", "outputs/quickstart/manifest.json")
