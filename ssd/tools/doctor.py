"""Checks of an installation: packages, device, and a training step with a detection.

This module imports no package at the top: each one is tried in a process of its own, so that one that is missing,
crashes or hangs is a line of the report.
"""

import json
import os
import platform
import re
import shutil
import subprocess
import sys
import warnings
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, replace
from importlib import metadata
from pathlib import Path
from typing import Literal, NamedTuple

from ssd.utils.errors import install_command
from ssd.version import __version__

_PACKAGE = Path(__file__).parents[1]
_OPENCV = ("opencv-python", "opencv-contrib-python", "opencv-python-headless", "opencv-contrib-python-headless")
_TIMEOUT = 180.0  # seconds for one process
_MARK = "@ssd.tools.doctor "  # begins the result of a process, among the output of native code
_REINSTALL = "pip install --force-reinstall "
_BOTH = f"install both at once, from one index: {_REINSTALL}torch torchvision"
# The module to import for a package whose name differs, or whose native code is in a module of its own.
_MODULES = {
    **{"pyyaml": "yaml", "pillow": "PIL.Image", "opencv-python": "cv2", "pycocotools": "pycocotools.mask"},
    "tensorboard": "tensorboard.compat.proto.event_pb2",  # breaks with the wrong protobuf
}
# Part of an error -> remedy.
_REMEDIES = {
    r"libGL|libgthread|libglib": "a server lacks desktop libraries: apt-get install libgl1 libglib2.0-0; or "
    "pip uninstall -y opencv-python && pip install opencv-python-headless",
    r"torchvision::nms": _BOTH,
    r"CUDA": "see pytorch.org/get-started for the build of torch for this GPU and driver, or set MODEL.DEVICE cpu",
}


@dataclass(frozen=True)
class Finding:
    """Result of one check: "note" = normal, but good to know; "warning" = works, with a drawback; "error" = broken."""

    name: str
    status: Literal["ok", "note", "warning", "error"]
    found: str
    remedy: str = ""  # command or advice


class Requirement(NamedTuple):
    """Package that the library, or one of its extras, needs from a version on."""

    name: str
    lowest: str = ""
    extra: str = ""


def examine() -> list[Finding]:
    """Run all checks."""
    requirements, versions = read_requirements(), installed_versions()
    by_extra: dict[str, list[Requirement]] = {}
    for requirement in requirements:
        by_extra.setdefault(requirement.extra, []).append(requirement)
    required = by_extra.pop("", [])
    with ThreadPoolExecutor(os.cpu_count()) as pool:  # each check imports in a new process
        packages = list(pool.map(lambda one: check_package(one, versions), required))
        extras = list(pool.map(lambda name: check_extra(name, by_extra[name], versions), sorted(by_extra)))
    broken = [finding.name for finding in packages if finding.status == "error"]
    return [
        _check_library(),
        *packages,
        _unless("torch" in broken, "GPU", "check_gpu"),
        *extras,
        _unless(bool(broken), "detection", "check_detection"),
    ]


def read_requirements() -> list[Requirement]:
    """Read the packages of the library and its extras (dev and docs aside) from its metadata or requirements.txt."""
    file = _PACKAGE.parent / "requirements.txt"
    try:
        lines = metadata.requires("ssd-detector") or []
    except metadata.PackageNotFoundError:
        lines = file.read_text().splitlines() if file.is_file() else []
    found = []
    for line in lines:
        if name := re.match(r"[\w.-]+", line):
            lowest, extra = re.search(r">=\s*([\w.]+)", line), re.search(r"extra\s*==\s*[\"']([\w.-]+)", line)
            found.append(Requirement(_normalised(name[0]), lowest[1] if lowest else "", extra[1] if extra else ""))
    return [requirement for requirement in found if requirement.extra not in ("dev", "docs")]


def installed_versions() -> dict[str, str]:
    """Return the version of each installed package; of several, the one that is imported."""
    versions: dict[str, str] = {}
    for distribution in metadata.distributions():
        fields = distribution.metadata
        if "Name" in fields and "Version" in fields:  # missing after a broken removal
            versions.setdefault(_normalised(fields["Name"]), fields["Version"])
    return versions


def check_package(requirement: Requirement, versions: Mapping[str, str]) -> Finding:
    """Check the version of a required package, and import it in a new process."""
    names = _OPENCV if requirement.name == _OPENCV[0] else (requirement.name,)
    name = next((name for name in names if name in versions), None)
    wanted = f"{name or requirement.name}>={requirement.lowest}"
    if name is not None and _release(versions[name]) < _release(requirement.lowest):
        found = f"{versions[name]}, older than {requirement.lowest}"
        return Finding(requirement.name, "error", found, f"pip install --upgrade '{wanted}'")
    finding = run_isolated(requirement.name, f"import {_MODULES.get(requirement.name, requirement.name)}")
    if name is None:
        return finding if finding.status == "ok" else replace(finding, remedy=f"pip install '{wanted}'")
    version = versions[name] if name == requirement.name else f"{versions[name]} ({name})"
    return replace(finding, found=f"{version}, {finding.found}" if finding.found else version)


def run_isolated(name: str, code: str, timeout: float = _TIMEOUT) -> Finding:
    """Run Python code in a new process, and return the finding that it prints, if any, or its failure."""
    command, remedy = [sys.executable, "-c", code], _REINSTALL + name
    try:
        run = subprocess.run(command, capture_output=True, errors="replace", timeout=timeout, check=False)
    except subprocess.TimeoutExpired:
        return Finding(name, "error", f"hangs: no answer within {timeout:.0f} s", remedy)
    if run.returncode == 0:
        result = run.stdout.rpartition(_MARK)[2]
        return Finding(**json.loads(result)) if _MARK in run.stdout else Finding(name, "ok", "")
    last = run.stderr.strip().rpartition("\n")[2]
    remedy = next((advice for part, advice in _REMEDIES.items() if re.search(part, last)), remedy)
    if run.returncode == 1:
        return Finding(name, "error", f"fails: {last}", remedy)
    how = f"signal {-run.returncode}" if run.returncode < 0 else f"exit status {run.returncode}"
    return Finding(name, "error", f"ends its process with {how}: {last}", remedy)


def check_extra(extra: str, requirements: Sequence[Requirement], versions: Mapping[str, str]) -> Finding:
    """Check whether the packages of an extra are installed and recent enough."""
    absent = [one.name for one in requirements if one.name not in versions]
    if absent:
        return Finding(f"extra {extra}", "note", f"absent: {', '.join(absent)}", install_command(extra))
    found = ", ".join(f"{one.name} {versions[one.name]}" for one in requirements)
    if all(_release(versions[one.name]) >= _release(one.lowest) for one in requirements):
        return Finding(f"extra {extra}", "ok", found)
    needed = ", ".join(f"{one.name}>={one.lowest}" for one in requirements)
    return Finding(f"extra {extra}", "warning", f"{found}; needs {needed}", install_command(extra))


def check_gpu() -> Finding:
    """Check whether torch uses the GPU, with a convolution on each; without one, find the reason."""
    import torch

    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        indices = range(torch.cuda.device_count() if torch.cuda.is_available() else 0)
    for index in indices:
        images = torch.ones(1, 3, 8, 8, device=f"cuda:{index}")
        torch.nn.functional.conv2d(images, torch.ones(4, 3, 3, 3, device=images.device)).mean().item()
    if indices:
        names = ", ".join(map(torch.cuda.get_device_name, indices))
        return Finding("GPU", "ok", f"{names}; torch is built for CUDA {torch.version.cuda}")
    if torch.backends.mps.is_available():
        return Finding("GPU", "ok", "Apple MPS")
    if shutil.which("nvidia-smi") is None:
        return Finding("GPU", "note", "none; the CPU computes")
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    reasons = [
        *(["this torch is built for CPUs only"] if torch.version.cuda is None else []),
        *([f"CUDA_VISIBLE_DEVICES is {visible!r}"] if visible is not None else []),
        *[" ".join(str(warning.message).split()) for warning in caught],
    ]
    found = f"torch does not use it: {'; '.join(reasons) or 'it gives no reason'}"
    return Finding("GPU", "warning", found, "see pytorch.org/get-started for a torch for CUDA that fits the driver")


def check_detection() -> Finding:
    """Run a training step and a detection with the quickstart's detector and random weights."""
    import torch

    from ssd.config import load_config
    from ssd.config.files import shipped_config
    from ssd.modeling.detector import build_detection_model
    from ssd.structures import Container
    from ssd.structures.boxes import height_width
    from ssd.utils.device import select_device

    cfg = load_config(shipped_config("quickstart"), ["MODEL.NUM_CLASSES", 4, "TEST.CONFIDENCE_THRESHOLD", 0.0])
    device = select_device("auto")
    model = build_detection_model(cfg).to(device)
    images = torch.zeros(1, 3, *height_width(cfg.INPUT.IMAGE_SIZE), device=device)
    targets = Container(boxes=torch.tensor([[[0.2, 0.2, 0.6, 0.7]]]), labels=torch.tensor([[1]])).to(device)
    loss = torch.stack(list(model.train()(images, targets).values())).sum()
    loss.backward()
    with torch.no_grad():
        (found,) = model.eval()(images)
    return Finding("detection", "ok", f"a tiny detector trains, and finds {len(found['boxes'])} boxes, on {device}")


def print_finding(finding: Finding) -> None:
    """Print a finding for ``run_isolated``."""
    sys.stdout.write(f"\n{_MARK}{json.dumps(asdict(finding))}\n")


def _unless(is_broken: bool, name: str, check: str) -> Finding:
    if is_broken:
        return Finding(name, "error", "skipped, since packages that it needs are broken")
    finding = run_isolated(name, f"from ssd.tools import doctor; doctor.print_finding(doctor.{check}())")
    return replace(finding, remedy=finding.remedy.replace(_REINSTALL + name, ""))


def _check_library() -> Finding:
    found = f"{__version__} in {_PACKAGE}, Python {platform.python_version()}, {platform.platform()}"
    if not any((folder / "configs" / "quickstart.yaml").is_file() for folder in (_PACKAGE, _PACKAGE.parent)):
        return Finding("ssd-detector", "error", f"{found}: its configs are missing", "install it again")
    return Finding("ssd-detector", "ok", found)


def _normalised(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def _release(version: str) -> tuple[int, ...]:
    """Return the numbers of a version, such as (2, 11) of "2.11.0rc1+cpu", without zeros at the end."""
    match = re.match(r"\d+(?:\.\d+)*?(?=(?:\.0+)*(?:[^\d.]|$))", version)
    return tuple(map(int, match[0].split("."))) if match else ()
