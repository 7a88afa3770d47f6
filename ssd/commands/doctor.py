"""Check an installation: ssd doctor; it also works where PyTorch does not."""

import argparse
import json
from collections.abc import Sequence
from dataclasses import asdict

from ssd.tools.doctor import Finding, examine
from ssd.utils.terminal import say


def main(args: Sequence[str] | None = None) -> int:
    """Run the command with ``args``; return 1 if something is broken, else 0."""
    parser = argparse.ArgumentParser(
        prog="ssd doctor",
        description="Check packages, device and folders, train and detect with a tiny model, and print remedies.",
    )
    parser.add_argument("--json", action="store_true", help="write the findings as JSON")
    parsed = parser.parse_args(args)
    findings = examine()
    is_healthy = all(finding.status != "error" for finding in findings)
    if parsed.json:
        content = {"healthy": is_healthy, "findings": [asdict(finding) for finding in findings]}
        say(json.dumps(content, indent=2) + "\n")
    else:
        say(to_text(findings))
    return 0 if is_healthy else 1


def to_text(findings: Sequence[Finding]) -> str:
    """Return a line for each finding, with its remedy below, and a last line with the number of problems."""
    width = max(len(finding.name) for finding in findings)
    lines = []
    for finding in findings:
        lines.append(f"{finding.status:<8} {finding.name:<{width}}  {finding.found}")
        if finding.remedy:
            lines.append(f"{'':<8} {'':<{width}}  -> {finding.remedy}")
    counts = {kind: sum(finding.status == kind for finding in findings) for kind in ("error", "warning")}
    told = [f"{count} {kind}{'s' if count > 1 else ''}" for kind, count in counts.items() if count]
    return "\n".join([*lines, "", ", ".join(told) or "No problems", ""])
