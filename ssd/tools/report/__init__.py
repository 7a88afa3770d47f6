"""Report of an evaluation: one HTML page for each dataset."""

import logging
from dataclasses import replace
from pathlib import Path

from ssd.engine.inference import DatasetEvaluation
from ssd.evaluation import analyse
from ssd.tools.report.elements import paragraph
from ssd.tools.report.error_sections import make_confusion_section, make_errors_section, make_images_section
from ssd.tools.report.fact_sections import RunFacts, describe_run, make_data_section, make_run_section
from ssd.tools.report.metric_sections import (
    make_curves_section,
    make_metrics_section,
    make_thresholds_section,
    make_tiles,
)
from ssd.tools.report.page import make_page
from ssd.tools.report.verdict import make_verdict
from ssd.utils.errors import OutputError, os_errors_as
from ssd.utils.files import write_text

__all__ = ["REPORT", "RunFacts", "describe_run", "write_report"]

logger = logging.getLogger(__name__)

REPORT = "report.html"


def write_report(evaluation: DatasetEvaluation, run: RunFacts, folder: Path) -> Path:
    """Analyse the evaluation of a dataset, and write report.html into a folder; return its path."""
    result = evaluation.result
    analysis = analyse(evaluation.dataset, evaluation.predictions, metric=result.metric)
    pictures = make_images_section(evaluation, analysis)
    folded = [
        make_metrics_section(result, analysis),
        make_curves_section(result, analysis),
        make_thresholds_section(analysis),
        make_errors_section(analysis),
        make_confusion_section(analysis),
        make_data_section(evaluation.name, evaluation.dataset, analysis),
        make_run_section(run),
    ]
    facts = dict(run.facts)
    lead = ", ".join(facts[name] for name in ("network", "checkpoint", "date"))
    content = paragraph(make_verdict(analysis), "verdict") + make_tiles(result, analysis)
    sections = [pictures, *(replace(section, is_folded=True) for section in folded)]
    page = make_page(f"How well {evaluation.name} is detected", lead, content, sections)
    path = folder / REPORT
    with os_errors_as(OutputError, path):
        folder.mkdir(parents=True, exist_ok=True)
        write_text(path, page)
    logger.info("Report: %s (%.1f MB)", path, len(page) / 1e6)
    return path
