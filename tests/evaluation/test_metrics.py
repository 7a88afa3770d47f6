import json
import re

import numpy as np
import pytest

from ssd.data.catalog import make_dataset
from ssd.evaluation import EvaluationResult, analyse, evaluate
from ssd.evaluation.coco import FIGURES
from ssd.evaluation.error_kinds import LOCALISATION
from ssd.evaluation.metrics import make_coco_result, make_voc_result, write_result
from ssd.utils.errors import ConfigError
from tests.data.datasets.one_image import CSV, JSON, XML, YOLO_ROW, write_files
from tests.evaluation.sets import COCOSet, VOCSet, predicted

NAN = float("nan")
CAT_BOX, DOG_BOX = [10, 10, 50, 50], [0, 0, 9, 9]
# Three images: a cat, nothing, a dog and a difficult cat; the third class has no object.
OBJECTS = ([(CAT_BOX, 1, False)], [], [(DOG_BOX, 2, False), (CAT_BOX, 1, True)])


def voc_set(objects=OBJECTS):
    dataset = VOCSet(objects, ("cat", "dog", "owl"))
    dataset.metric = "voc07"
    return dataset


def coco_set():
    """The same objects, none of them difficult."""
    rows = [(2 - index, box, label) for index, objects in enumerate(OBJECTS) for box, label, _ in objects]
    annotations = []
    for number, (image_id, (x1, y1, x2, y2), label) in enumerate(rows):
        size = {"bbox": [x1, y1, x2 - x1, y2 - y1], "area": (x2 - x1) * (y2 - y1), "iscrowd": 0}
        annotations.append({"id": number, "image_id": image_id, "category_id": 100 - label, **size})
    return COCOSet(annotations, 3, 3)


def some_predictions():
    """Everything found, and a cat and an owl where there is nothing."""
    return [
        predicted((CAT_BOX, 1, 0.9)),
        predicted((CAT_BOX, 1, 0.95), (CAT_BOX, 3, 0.5)),
        predicted((CAT_BOX, 1, 0.97), (DOG_BOX, 2, 0.3)),
    ]


def test_voc_by_default_of_the_dataset(tmp_path):
    folder = tmp_path / "new" / "folder"
    result = evaluate(voc_set(), some_predictions(), folder, iteration=40)
    # cat: the difficult one ignored, then a miss, then the hit; owl: no object
    expected = {"mAP": 0.75, "cat": 0.5, "dog": 1.0, "owl": NAN}
    assert result.metric == "voc07"
    assert result.values == pytest.approx(expected, abs=1e-12, nan_ok=True)
    assert sorted(path.name for path in folder.iterdir()) == ["metrics.json", "result_0000040.txt"]
    assert (folder / "result_0000040.txt").read_text() == result.text
    written = json.loads((folder / "metrics.json").read_text(), parse_constant=pytest.fail)
    facts = {"metric": "voc07", "dataset_size": 3, "iteration": 40}
    assert written == {**facts, "values": {**result.values, "owl": None}}


def test_voc_and_voc07_differ_in_the_area(tmp_path):
    dataset, predictions = voc_set([[(CAT_BOX, 1)], [(DOG_BOX, 1)], []]), some_predictions()
    # misses at 0.97 and 0.95, a hit at 0.9: precision 1/3 up to recall 1/2
    assert evaluate(dataset, predictions, tmp_path, metric="voc").values["cat"] == pytest.approx(1 / 3 / 2)
    assert evaluate(dataset, predictions, tmp_path, metric="voc07").values["cat"] == pytest.approx(6 / 11 / 3)


def test_coco_by_default_of_the_dataset(tmp_path):
    result = evaluate(coco_set(), some_predictions(), tmp_path)
    # cats by score: hit, miss, hit, so precision 1 up to recall 1/2 and 2/3 beyond, at 51 and 50 of the 101 recalls
    cat_ap = (51 * 1 + 50 * 2 / 3) / 101
    assert result.values["AP/class 1"] == pytest.approx(cat_ap, abs=1e-12)
    assert result.values["AP/class 2"] == pytest.approx(1, abs=1e-12)
    assert np.isnan(result.values["AP/class 3"])
    assert result.main == result.values["AP"] == pytest.approx((cat_ap + 1) / 2, abs=1e-12)
    written = json.loads((tmp_path / "bbox.json").read_text())
    found = [(row["image_id"], row["category_id"]) for row in written]
    assert found == [(2, 99), (1, 99), (1, 97), (0, 99), (0, 98)]
    assert written[0]["bbox"] == [10, 10, 40, 40]
    assert json.loads((tmp_path / "metrics.json").read_text())["values"]["APl"] is None


def test_coco_without_any_detection(tmp_path):
    result = evaluate(coco_set(), [predicted()] * 3, tmp_path)
    assert result.main == 0
    assert json.loads((tmp_path / "bbox.json").read_text()) == []


def test_coco_file_that_lacks_a_class(tmp_path):
    dataset = coco_set()
    del dataset.contiguous_id_to_coco_id[3]  # the model knows the class, the file does not
    result = evaluate(dataset, some_predictions(), tmp_path)
    assert result.values == pytest.approx(evaluate(coco_set(), some_predictions(), tmp_path).values, nan_ok=True)
    assert "class 3         : nan" in result.text


def test_coco_metric_of_another_format(tmp_path):
    ordinary = [[row[:2] for row in objects] for objects in OBJECTS]
    result = evaluate(voc_set(ordinary), some_predictions(), tmp_path, metric="coco")
    expected = list(evaluate(coco_set(), some_predictions(), tmp_path / "file").values.values())
    assert list(result.values.values()) == pytest.approx(expected, nan_ok=True)
    assert list(result.values)[-3:] == ["AP/cat", "AP/dog", "AP/owl"]
    # A difficult cat is neither an object nor, where it is found, a mistake: a miss, then a hit, at every IoU.
    assert evaluate(voc_set(), some_predictions(), tmp_path, metric="coco").values["AP/cat"] == pytest.approx(0.5)
    errors = analyse(voc_set(), some_predictions(), metric="coco")
    assert errors.ap[1:3] == pytest.approx([0.5, 1])


def test_voc_metric_does_not_read_the_coco_file(tmp_path):
    dataset = coco_set()
    annotations = [dataset.get_annotation(index) for index in range(3)]
    dataset.get_annotation = annotations.__getitem__
    del dataset.coco
    assert evaluate(dataset, some_predictions(), tmp_path, metric="voc").values["class 2"] == pytest.approx(1)


FILES = {"voc": {"a.xml": XML}, "yolo": {"a.txt": YOLO_ROW, "classes.txt": "cat\n"}, "csv": {"a.csv": CSV}}
FILES["coco"] = {"a.json": JSON}


@pytest.mark.parametrize("kind", FILES)
def test_only_the_files_of_voc_have_inclusive_pixels(tmp_path, kind):
    """One object of 10 x 10 pixels, a detection of 10 x 4.8: IoU .48 between edges, 11 * 5.8 / 11**2 = .527 with +1."""
    root = write_files(tmp_path / "set", {"a.png": "", **FILES[kind]})
    dataset = make_dataset("pets", {"pets": {"ROOT": str(root)}}, is_train=False)
    predictions = [predicted(([1, 2, 11, 6.8], 1, 0.9))]
    assert evaluate(dataset, predictions, tmp_path / "out", metric="voc").main == (kind == "voc")
    analysis = analyse(dataset, predictions, metric="voc")
    assert analysis.ap[1] == (kind == "voc")
    assert (analysis.errors.kinds[0] == LOCALISATION) == (kind != "voc")
    assert analysis.tables.objects.areas[0] == pytest.approx(121 if kind == "voc" else 100)


@pytest.mark.parametrize(
    ("metric", "message"),
    [("voc2007", r"TEST\.METRIC: .*'voc2007'.*'voc07'"), ("AP", r"TEST\.METRIC: .*'AP'.*voc07, voc, coco")],
)
def test_unknown_metrics_are_refused(tmp_path, metric, message):
    with pytest.raises(ConfigError, match=message):
        evaluate(voc_set(), some_predictions(), tmp_path / "untouched", metric=metric)
    assert not (tmp_path / "untouched").exists()


def test_voc_report_lists_every_class():
    ap = np.array([NAN, 0.5, NAN, 0.25])
    result = make_voc_result("voc07", ap, 0.375, ("__background__", "aeroplane", "bicycle", "bird"))
    assert result.text == "mAP: 0.3750\naeroplane       : 0.5000\nbicycle         : nan\nbird            : 0.2500\n"
    assert result.values == pytest.approx({"mAP": 0.375, "aeroplane": 0.5, "bicycle": NAN, "bird": 0.25}, nan_ok=True)
    assert (result.main_name, result.main, result.summary) == ("mAP", 0.375, {"mAP": 0.375})


def test_reports_say_that_nothing_could_be_measured():
    result = make_voc_result("voc", np.array([NAN, NAN]), NAN, ("__background__", "cat"))
    assert np.isnan(result.main)
    for text in (result.text, make_coco_result(dict.fromkeys(FIGURES, NAN), {"cat": NAN}).text):
        assert "no object" in text


def test_coco_report_begins_with_lufficc_lines():
    figures = dict.fromkeys(FIGURES, 0.5) | {"AP": 0.25167, "AP50": 0.9, "APs": NAN}
    result = make_coco_result(figures, {"cat": 0.1, "dog": NAN})
    assert list(result.summary) == list(FIGURES)
    lines = result.text.splitlines()
    assert lines[:4] == ["AP        : 0.252", "AP50      : 0.9", "AP75      : 0.5", "APs       : nan"]
    assert [line.split(":")[0].strip() for line in lines] == [*FIGURES, "cat", "dog"]
    assert lines[-2:] == ["cat             : 0.1000", "dog             : nan"]
    assert list(result.values) == [*FIGURES, "AP/cat", "AP/dog"]
    assert (result.main_name, result.main) == ("AP", 0.25167)


def test_files_of_another_evaluation_are_named_by_the_time(tmp_path):
    write_result(EvaluationResult("coco", {"AP": 0.5}, "text"), tmp_path, dataset_size=1, iteration=None)
    metrics_file, result_file = sorted(path.name for path in tmp_path.iterdir())
    assert re.fullmatch(r"result_\d{4}-\d\d-\d\d_\d\d-\d\d-\d\d\.txt", result_file)
    assert json.loads((tmp_path / metrics_file).read_text())["iteration"] is None
