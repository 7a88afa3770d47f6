"""What the metadata of the installed packages tells, without importing any of them."""

import ctypes.util
import platform
import re
import sys
from collections.abc import Mapping, Sequence
from importlib import metadata

from ssd.tools.doctor.finding import Finding
from ssd.tools.doctor.requirements import Requirement, normalised, release
from ssd.utils.extras import install_command

_OLDEST_PYTHON = (3, 10)
_OPENCV = "opencv-python"
_OPENCV_BUILDS = (_OPENCV, "opencv-contrib-python", "opencv-python-headless", "opencv-contrib-python-headless")


def check_python() -> Finding:
    """Tell the Python, and whether it is recent enough."""
    found = f"{platform.python_version()}, {sys.executable}"
    if sys.version_info < _OLDEST_PYTHON:
        oldest = ".".join(map(str, _OLDEST_PYTHON))
        return Finding(
            "Python", "error", found, f"Python {oldest} or newer is needed; make a virtual environment of it"
        )
    return Finding("Python", "ok", found)


def check_version(requirement: Requirement, versions: Mapping[str, str]) -> Finding:
    """Tell the version of a required package, and whether it is recent enough."""
    names = _OPENCV_BUILDS if requirement.name == _OPENCV else (requirement.name,)
    name = next((name for name in names if name in versions), None)
    wanted = f"{requirement.name}>={requirement.lowest}" if requirement.lowest else requirement.name
    if name is None:
        return Finding(requirement.name, "error", "not installed", f"pip install '{wanted}'")
    if release(versions[name]) < release(requirement.lowest):
        wanted = wanted.replace(requirement.name, name)
        found = f"{versions[name]}, older than {requirement.lowest}"
        return Finding(requirement.name, "error", found, f"pip install --upgrade '{wanted}'")
    alias = "" if name == requirement.name else f" ({name})"
    return Finding(requirement.name, "ok", versions[name] + alias)


def check_pair(versions: Mapping[str, str]) -> Finding | None:
    """Tell whether this torchvision was built for this torch; None if one of them is missing."""
    if not {"torch", "torchvision"} <= versions.keys():
        return None
    torch, torchvision = versions["torch"], versions["torchvision"]
    pair = f"torch {torch} and torchvision {torchvision}"
    both = "pip install --force-reinstall torch torchvision"
    wanted = _torch_of(metadata.requires("torchvision") or [])
    if wanted is not None and release(wanted) != release(torch):
        return Finding(
            "torch and torchvision",
            "error",
            f"{pair} do not belong together: this torchvision is built for torch {wanted}",
            f"install both at once, from one index: {both}",
        )
    builds = [version.partition("+")[2] for version in (torch, torchvision)]
    if builds[0] != builds[1]:
        names = " and ".join(build or "none named" for build in builds)
        return Finding(
            "torch and torchvision",
            "warning",
            f"{pair} come from different indexes (builds: {names}); their operators may not find each other",
            f"install both at once, from one index: {both}",
        )
    return Finding("torch and torchvision", "ok", f"{pair} belong together")


def check_opencv_builds(versions: Mapping[str, str]) -> Finding | None:
    """Tell whether several builds of OpenCV lie in one another's folder; None if not."""
    builds = [name for name in _OPENCV_BUILDS if name in versions]
    if len(builds) < 2:
        return None
    kept = "opencv-contrib-python" if any("contrib" in name for name in builds) else _OPENCV
    if kept + "-headless" in builds and ctypes.util.find_library("GL") is None:
        kept += "-headless"
    found = ", ".join(f"{name} {versions[name]}" for name in builds)
    return Finding(
        "OpenCV builds",
        "warning",
        f"{len(builds)} builds write to the same folder cv2, a mixture of them is imported: {found}",
        f"keep one: pip uninstall -y {' '.join(builds)} && pip install {kept}",
    )


def check_extras(requirements: Sequence[Requirement], versions: Mapping[str, str]) -> list[Finding]:
    """Tell of each extra whether its packages are there, recent enough, or how they are installed."""
    extras: dict[str, list[Requirement]] = {}
    for requirement in requirements:
        if requirement.extra:
            extras.setdefault(requirement.extra, []).append(requirement)
    if not extras:
        advice = "in a checkout: pip install -e ."
        return [Finding("extras", "note", "not known, since the library itself is not installed", advice)]
    return [_check_extra(extra, extras[extra], versions) for extra in sorted(extras)]


def _check_extra(extra: str, requirements: Sequence[Requirement], versions: Mapping[str, str]) -> Finding:
    name, command = f"extra {extra}", install_command(extra)
    absent = [one.name for one in requirements if one.name not in versions]
    if absent:
        return Finding(name, "note", f"absent: {', '.join(absent)}", command)
    old = [one for one in requirements if release(versions[one.name]) < release(one.lowest)]
    if old:
        found = ", ".join(f"{one.name} {versions[one.name]} is older than {one.lowest}" for one in old)
        return Finding(name, "warning", found, command)
    return Finding(name, "ok", ", ".join(f"{one.name} {versions[one.name]}" for one in requirements))


def _torch_of(requirements: Sequence[str]) -> str | None:
    """The torch that a torchvision asks for: "2.15.0" of "torch==2.15.0" or "torch (==2.15.0)"."""
    for line in requirements:
        match = re.match(r"([\w.-]+)[ (]*==\s*([\w.+]+)", line)
        if match and normalised(match[1]) == "torch":
            return match[2]
    return None
