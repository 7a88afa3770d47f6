"""The report on an evaluated detector: one HTML page a dataset."""

from ssd.tools.report.run_facts import RunFacts, describe_run
from ssd.tools.report.write import REPORT, write_report

__all__ = ["REPORT", "RunFacts", "describe_run", "write_report"]
