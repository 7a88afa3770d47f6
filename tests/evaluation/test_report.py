"""The report as text and as JSON."""

import json
import re

import numpy as np
import pytest

from ssd.evaluation.coco import FIGURES
from ssd.evaluation.report import EvaluationResult, make_coco_result, make_voc_result, write_json, write_result

NAN = float("nan")


def test_voc_report_lists_every_class():
    ap = np.array([NAN, 0.5, NAN, 0.25])
    result = make_voc_result("voc07", ap, 0.375, ("__background__", "aeroplane", "bicycle", "bird"))
    assert result.text == "mAP: 0.3750\naeroplane       : 0.5000\nbicycle         : nan\nbird            : 0.2500\n"
    assert list(result.values) == ["mAP", "aeroplane", "bicycle", "bird"]
    assert all(type(value) is float for value in result.values.values())
    assert (result.main_name, result.main) == ("mAP", 0.375)


def test_voc_report_says_that_nothing_could_be_measured():
    result = make_voc_result("voc", np.array([NAN, NAN]), NAN, ("__background__", "cat"))
    lines = result.text.splitlines()
    assert lines[:2] == ["mAP: nan", "cat             : nan"]
    assert "no object" in lines[2]
    assert np.isnan(result.main)


def test_coco_report_begins_with_lufficc_lines():
    figures = dict.fromkeys(FIGURES, 0.5) | {"AP": 0.25167, "AP50": 0.9, "APs": NAN}
    result = make_coco_result(figures, {"cat": 0.1, "dog": NAN})
    lines = result.text.splitlines()
    assert lines[:4] == ["AP        : 0.252", "AP50      : 0.9", "AP75      : 0.5", "APs       : nan"]
    assert [line.split(":")[0].strip() for line in lines] == [*FIGURES, "cat", "dog"]
    assert lines[-2:] == ["cat             : 0.1000", "dog             : nan"]
    assert list(result.values) == [*FIGURES, "AP/cat", "AP/dog"]
    assert (result.main_name, result.main) == ("AP", 0.25167)


def test_coco_report_says_that_nothing_could_be_measured():
    assert "no object" in make_coco_result(dict.fromkeys(FIGURES, NAN), {"cat": NAN}).text


def test_files_of_an_evaluation_during_training(tmp_path):
    result = EvaluationResult("voc07", {"mAP": 0.5, "Hörnchen": NAN}, "Hörnchen\n")
    write_result(result, tmp_path, dataset_size=7, iteration=2500)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["metrics.json", "result_0002500.txt"]
    assert (tmp_path / "result_0002500.txt").read_text(encoding="utf-8") == "Hörnchen\n"
    assert json.loads((tmp_path / "metrics.json").read_text(encoding="utf-8"), parse_constant=pytest.fail) == {
        "metric": "voc07",
        "dataset_size": 7,
        "iteration": 2500,
        "values": {"mAP": 0.5, "Hörnchen": None},
    }


def test_files_of_another_evaluation_are_named_by_the_time(tmp_path):
    write_result(EvaluationResult("coco", {"AP": 0.5}, "text"), tmp_path, dataset_size=1, iteration=None)
    metrics_file, result_file = sorted(path.name for path in tmp_path.iterdir())
    assert re.fullmatch(r"result_\d{4}-\d\d-\d\d_\d\d-\d\d-\d\d\.txt", result_file)
    assert json.loads((tmp_path / metrics_file).read_text())["iteration"] is None


def test_a_failed_write_leaves_the_old_file(tmp_path):
    path = tmp_path / "metrics.json"
    write_json(path, {"AP": 0.5})
    with pytest.raises(ValueError, match="JSON"):
        write_json(path, {"AP": NAN})
    assert json.loads(path.read_text()) == {"AP": 0.5}


def test_summary_is_without_classes():
    coco = make_coco_result(dict.fromkeys(FIGURES, 0.5), {"cat": 0.1, "AP": 0.2})
    assert list(coco.summary) == list(FIGURES)
    voc = make_voc_result("voc", np.array([NAN, 0.5]), 0.5, ("__background__", "cat"))
    assert voc.summary == {"mAP": 0.5}
