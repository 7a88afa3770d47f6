"""Check an installation: ssd doctor; it also works where PyTorch does not."""

from collections.abc import Sequence
from dataclasses import asdict

from ssd.commands.arguments import Parser, write_result
from ssd.tools.doctor import examine
from ssd.utils.logger import say


def main(args: Sequence[str] | None = None) -> int:
    """Run the command with ``args``; return 1 if something is broken, else 0."""
    description = "Check packages and device, train and detect with a tiny model, and print remedies."
    parser = Parser("ssd doctor", description, "ssd doctor", keys=False)
    parser.add_json()
    parsed = parser.parse(args)
    parser.refuse_words(parsed)
    findings = examine()
    is_healthy = all(finding.status != "error" for finding in findings)
    if parsed.json:
        content = {"healthy": is_healthy, "findings": [asdict(finding) for finding in findings]}
        write_result(parsed.json, content)
        return 0 if is_healthy else 1
    width = max(len(finding.name) for finding in findings)
    for finding in findings:
        say(f"{finding.status:<8} {finding.name:<{width}}  {finding.found}\n")
        if finding.remedy:
            say(f"{'':<8} {'':<{width}}  -> {finding.remedy}\n")
    counts = {kind: sum(finding.status == kind for finding in findings) for kind in ("error", "warning")}
    say(f"\n{', '.join(f'{kind}s: {count}' for kind, count in counts.items() if count) or 'No problems'}\n")
    return 0 if is_healthy else 1
