"""A report as a file."""

import logging
from pathlib import Path

from ssd.engine.inference import DatasetEvaluation
from ssd.evaluation import Analysis, analyse
from ssd.evaluation.report import write_text
from ssd.tools.report.data_facts import make_data_section, make_run_section
from ssd.tools.report.errors import make_confusion_section, make_errors_section, make_images_section
from ssd.tools.report.metrics import (
    make_calibration_section,
    make_curves_section,
    make_metrics_section,
    make_thresholds_section,
    make_tiles,
)
from ssd.tools.report.page import make_page
from ssd.tools.report.run_facts import RunFacts
from ssd.utils.errors import OutputError, os_errors_as

logger = logging.getLogger(__name__)

REPORT = "report.html"


def write_report(evaluation: DatasetEvaluation, run: RunFacts, folder: Path) -> Path:
    """Analyse an evaluation, and write report.html into a folder; return its path.

    Args:
        evaluation: of one dataset.
        run: what was evaluated.
        folder: created if missing.

    Raises:
        OutputError: the file cannot be written.
    """
    analysis = analyse(evaluation.dataset, evaluation.predictions, metric=evaluation.result.metric)
    page = report_page(evaluation, analysis, run)
    path = folder / REPORT
    with os_errors_as(OutputError, path):
        folder.mkdir(parents=True, exist_ok=True)
        write_text(path, page)
    logger.info("Report: %s (%.1f MB)", path, len(page) / 1e6)
    return path


def report_page(evaluation: DatasetEvaluation, analysis: Analysis, run: RunFacts) -> str:
    """Return the report as HTML."""
    result = evaluation.result
    sections = [
        make_metrics_section(result, analysis),
        make_curves_section(result, analysis),
        make_thresholds_section(analysis),
        make_errors_section(analysis),
        make_confusion_section(analysis),
        make_calibration_section(analysis),
        make_images_section(evaluation, analysis),
        make_data_section(evaluation.name, evaluation.dataset, analysis),
        make_run_section(run),
    ]
    facts = dict(run.facts)
    lead = ", ".join(facts[name] for name in ("network", "checkpoint", "date") if name in facts)
    return make_page(f"How well {evaluation.name} is detected", lead, make_tiles(result, analysis), sections)
