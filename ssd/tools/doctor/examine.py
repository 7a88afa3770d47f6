"""All checks, and their findings as text."""

import os
import platform
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from ssd.tools.doctor.finding import Finding
from ssd.tools.doctor.isolated import run_isolated
from ssd.tools.doctor.machine import check_folders, check_shared_memory
from ssd.tools.doctor.packages import check_extras, check_opencv_builds, check_pair, check_python, check_version
from ssd.tools.doctor.probes import NEEDS
from ssd.tools.doctor.requirements import installed_versions, read_requirements
from ssd.version import __version__

_PACKAGE = Path(__file__).parents[1]


def examine() -> list[Finding]:
    """Return what all checks find: packages, GPU, machine, extras, and a detection at last."""
    requirements, versions = read_requirements(), installed_versions()
    required = [requirement for requirement in requirements if not requirement.extra]
    found = {requirement.name: check_version(requirement, versions) for requirement in required}
    probed = run_isolated([*found, *NEEDS])
    packages = [_unite(finding, probed[name]) for name, finding in found.items()]
    findings = [
        *(_check_library(), check_python(), *packages),
        *(check_pair(versions), check_opencv_builds(versions)),
        *(probed["operators"], probed["GPU"], probed["threads"], check_shared_memory(), *check_folders()),
        *check_extras(requirements, versions),
        probed["detection"],
    ]
    return [finding for finding in findings if finding is not None]


def to_text(findings: Sequence[Finding]) -> str:
    """Return a line for each finding, with its remedy under it, and a last one that sums up."""
    width = max(len(finding.name) for finding in findings)
    lines = []
    for finding in findings:
        lines.append(f"{finding.status:<8} {finding.name:<{width}}  {finding.found}")
        if finding.remedy:
            lines.append(f"{'':<8} {'':<{width}}  -> {finding.remedy}")
    counts = {kind: sum(finding.status == kind for finding in findings) for kind in ("error", "warning")}
    told = [f"{count} {kind}{'s' if count > 1 else ''}" for kind, count in counts.items() if count]
    return "\n".join([*lines, "", ", ".join(told) or "All is well", ""])


def _check_library() -> Finding:
    found = f"{__version__} in {os.fspath(_PACKAGE)}, on {platform.platform()}"
    if not _has_configs():
        return Finding("ssd-detector", "error", f"{found}: its configs are missing", "install it anew")
    return Finding("ssd-detector", "ok", found)


def _has_configs() -> bool:
    try:
        from ssd.config.shipped import shipped_names
    except (ImportError, OSError):  # of yacs or PyYAML, whose own findings tell
        return True
    return bool(shipped_names())


def _unite(version: Finding, imported: Finding) -> Finding:
    """What is worse of a package: its version, or what came of its import."""
    if version.status == "error" or imported.status == "ok":
        return version
    return replace(imported, found=f"{version.found}, {imported.found}")
