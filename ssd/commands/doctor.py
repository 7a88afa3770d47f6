"""Look at an installation: ssd doctor; it also works where PyTorch does not."""

import argparse
import json
from collections.abc import Sequence
from dataclasses import asdict

from ssd.tools.doctor.examine import examine, to_text
from ssd.utils.terminal import say


def main(args: Sequence[str] | None = None) -> int:
    """Run the command with ``args``; return 1 if something must be mended, else 0."""
    parser = argparse.ArgumentParser(
        prog="ssd doctor",
        description="Look at packages, GPU and machine, detect in an image, and say what mends what is broken.",
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
