"""Who may import whom, and what an import costs."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]

_CORE = {"structures", "utils"}
_PARTS = {"config", "modeling", "data", "solver", "evaluation", "visualization", *_CORE}
ALLOWED: dict[str, set[str]] = {
    "structures": set(),
    "utils": {"structures"},
    "config": _CORE,
    "modeling": _CORE,
    "data": _CORE,
    "solver": _CORE,
    "evaluation": _CORE,
    "visualization": _CORE,
    "weights": {"config", "modeling", *_CORE},
    "engine": {"weights", *_PARTS},
    "inference": {"weights", "config", "modeling", "data", "visualization", *_CORE},
}
ALLOWED["deploy"] = {"inference", "evaluation", "version", *ALLOWED["inference"]}
ALLOWED["tools"] = {"engine", "deploy", *ALLOWED["engine"], *ALLOWED["deploy"]}
ALLOWED["commands"] = {"tools", *ALLOWED["tools"]}


def imported_packages(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom):
            assert not node.level, f"{path}: relative imports are not used here"
            names = [node.module or ""]
            if node.module == "ssd":
                names = [f"ssd.{alias.name}" for alias in node.names]
        elif isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        else:
            continue
        for name in names:
            parts = name.split(".")
            if parts[0] == "ssd" and len(parts) > 1:
                yield parts[1]


@pytest.mark.parametrize("package", ALLOWED)
def test_imports_point_one_way(package: str) -> None:
    for path in (ROOT / "ssd" / package).rglob("*.py"):
        wrong = set(imported_packages(path)) - ALLOWED[package] - {package}
        assert not wrong, f"{path.relative_to(ROOT)} imports {', '.join(wrong)}"


def test_every_package_has_its_rule() -> None:
    packages = {path.parent.name for path in (ROOT / "ssd").glob("*/__init__.py")}
    assert packages == set(ALLOWED)


def run_python(code: str) -> str:
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return run.stdout


def test_imports_load_nothing_that_is_slow_or_optional() -> None:
    code = """
import sys
def loaded(names): return [name for name in names.split() if name in sys.modules]
import ssd
assert not loaded("torch torchvision cv2 pycocotools tensorboard PIL"), sys.modules
assert not hasattr(ssd, "detect")
import ssd.modeling.detector
assert not loaded("pycocotools tensorboard"), sys.modules
assert ssd.init_detector.__module__ == "ssd.inference.api" and ssd.Detections.__name__ == "Detections"
"""
    assert run_python(code) == ""


def test_a_broken_pair_of_torch_and_torchvision_is_explained() -> None:
    code = """
import sys
class Broken:
    def find_spec(self, name, path=None, target=None):
        if name.startswith("torchvision"):
            raise RuntimeError("operator torchvision::nms does not exist")
sys.meta_path.insert(0, Broken())
try:
    import ssd.structures.boxes
except ImportError as error:
    print(error)
"""
    assert "Install both from the same index" in run_python(code)
