"""What is wrong with the datasets of a configuration, all of it and not only the first."""

from ssd.tools.data.check.check import check_data
from ssd.tools.data.check.problem import Problem
from ssd.tools.data.check.report import DataReport, SetReport
from ssd.tools.data.check.text import report_to_text

__all__ = ["DataReport", "Problem", "SetReport", "check_data", "report_to_text"]
