"""Runs probes in a process of their own: one that crashes or hangs is a finding, and the others still run.

``python -m ssd.tools.doctor.isolated NAME...`` is that process.
"""

import json
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict

from ssd.tools.doctor.finding import Finding
from ssd.tools.doctor.probes import NEEDS, run_probe

_MARK = "@ssd.tools.doctor "  # begins the lines that are ours, among what native code prints
_TIMEOUT = 180.0  # seconds, for all probes


def run_isolated(names: Sequence[str], timeout: float = _TIMEOUT) -> dict[str, Finding]:
    """Run probes in their order.

    Args:
        names: see ``ssd.tools.doctor.probes.run_probe``.
        timeout: seconds after which the process is ended, for the probe that it is at.

    Returns:
        Their findings, in this order.
    """
    findings: dict[str, Finding] = {}
    while rest := [name for name in names if name not in findings]:
        rest = _without_base(rest, findings)
        if rest:
            _run_process(rest, findings, timeout)
    return {name: findings[name] for name in names}


def _without_base(names: Sequence[str], findings: dict[str, Finding]) -> list[str]:
    """The probes that make sense after what was found; the others get a finding."""
    left = []
    for name in names:
        broken = [need for need in NEEDS.get(name, ()) if need in findings and findings[need].status == "error"]
        if broken:
            findings[name] = Finding(name, "error", f"not tried, since it needs {', '.join(broken)}")
        else:
            left.append(name)
    return left


def _run_process(names: Sequence[str], findings: dict[str, Finding], timeout: float) -> None:
    """Run probes in a new process until it ends; add what it tells."""
    command = [sys.executable, "-m", __name__, *names]
    try:
        run = subprocess.run(command, capture_output=True, timeout=timeout, check=False)
        output, reason = run.stdout, _describe_end(run.returncode, run.stderr)
    except subprocess.TimeoutExpired as error:
        output, reason = error.stdout or b"", f"hangs: no answer within {timeout:.0f} s"
    begun = ""
    for line in output.decode(errors="replace").splitlines():
        if line.startswith(_MARK):
            message = json.loads(line.removeprefix(_MARK))
            begun = message["begin"]
            if "finding" in message:
                findings[begun] = Finding(**message["finding"])
    culprit = begun if begun and begun not in findings else names[0]
    if any(name not in findings for name in names) and culprit not in findings:
        remedy = f"pip install --force-reinstall {culprit}" if culprit not in NEEDS else ""
        findings[culprit] = Finding(culprit, "error", reason, remedy)


def _describe_end(status: int, stderr: bytes) -> str:
    lines = stderr.decode(errors="replace").strip().splitlines()
    how = f"signal {-status}" if status < 0 else f"exit status {status}"
    return f"ends its process with {how}" + (f": {lines[-1]}" if lines else "")


def _main(names: Sequence[str]) -> None:
    """Run the probes of the command line, and tell before each that it begins."""
    findings: dict[str, Finding] = {}
    for name in names:
        if not _without_base([name], findings):
            _tell({"begin": name, "finding": asdict(findings[name])})
            continue
        _tell({"begin": name})
        findings[name] = run_probe(name)
        _tell({"begin": name, "finding": asdict(findings[name])})


def _tell(message: Mapping[str, object]) -> None:
    sys.stdout.write(f"\n{_MARK}{json.dumps(message)}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    _main(sys.argv[1:])
