"""COCO figures by both implementations: by hand, against each other, against recorded and published figures."""

import contextlib
import copy
import io
import json
import os
import sys
from pathlib import Path

import numpy as np
import pytest
from pycocotools.coco import COCO

from ssd.evaluation.coco import FIGURES, detections_to_results, eval_detection_coco
from ssd.evaluation.inputs import ImageDetections, read_predictions
from ssd.structures import Container
from tests.evaluation.sets import random_set

NAN = float("nan")


@pytest.fixture(params=["faster_coco_eval", "pycocotools"])
def backend(request, monkeypatch):
    if request.param == "pycocotools":
        monkeypatch.setitem(sys.modules, "faster_coco_eval", None)  # as if it were not installed
    else:
        pytest.importorskip("faster_coco_eval")
    return request.param


def load(dataset):
    coco = COCO()
    coco.dataset = dataset
    with contextlib.redirect_stdout(io.StringIO()):
        coco.createIndex()
    return coco


def small_dataset(**extra):
    """Two images; a cat (id 3) of 40 x 40 pixels in the first, a dog (id 8) of 50 x 50 in the second."""
    boxes = [(1, 3, [10, 10, 40, 40]), (2, 8, [20, 20, 50, 50])]
    annotations = [
        {"id": number, "image_id": image_id, "category_id": category_id, "bbox": bbox, **extra}
        for number, (image_id, category_id, bbox) in enumerate(boxes)
    ]
    categories = [{"id": 3, "name": "cat"}, {"id": 8, "name": "dog"}]
    return {"images": [{"id": 1}, {"id": 2}], "categories": categories, "annotations": annotations}


def hit(annotation, score=0.9):
    return {**{key: annotation[key] for key in ("image_id", "category_id", "bbox")}, "score": score}


def measure(dataset, results, image_ids=(1, 2), category_ids=(3, 8)):
    return eval_detection_coco(load(dataset), results, list(image_ids), list(category_ids))


def test_perfect_detections(backend, capsys):
    # Without area and iscrowd, and with an annotation of id 0, as custom files have it.
    dataset = small_dataset()
    results = [hit(a) for a in dataset["annotations"]]
    before = copy.deepcopy((dataset, results))
    figures, class_ap = measure(dataset, results)
    expected = {name: NAN if name[-1] in "sl" else 1.0 for name in FIGURES}  # both objects are medium
    assert figures == pytest.approx(expected, abs=1e-12, nan_ok=True)
    assert class_ap == pytest.approx({3: 1, 8: 1}, abs=1e-12)
    assert (dataset, results) == before
    assert capsys.readouterr() == ("", "")


def test_one_false_positive_ahead(backend):
    # The cat is found behind a better-scored box elsewhere: precision 1/2 at every recall, the dog not at all.
    dataset = small_dataset()
    cat = dataset["annotations"][0]
    results = [{**hit(cat, 0.95), "bbox": [100, 100, 40, 40]}, hit(cat, 0.9)]
    figures, class_ap = measure(dataset, results)
    assert class_ap == pytest.approx({3: 0.5, 8: 0}, abs=1e-12)
    assert figures["AP"] == figures["AP50"] == pytest.approx(0.25, abs=1e-12)
    assert figures["AR1"] == 0  # the one detection an image that counts is the false one
    assert figures["AR10"] == pytest.approx(0.5, abs=1e-12)


def test_crowds_neither_count_nor_cost(backend):
    dataset = small_dataset(iscrowd=1)
    results = [hit(a) for a in dataset["annotations"]]
    dataset["annotations"].append({**dataset["annotations"][0], "id": 7, "bbox": [100, 0, 40, 40], "iscrowd": 0})
    results.append(hit(dataset["annotations"][2], 0.5))
    figures, class_ap = measure(dataset, results)
    assert figures["AP"] == pytest.approx(1, abs=1e-12)
    assert class_ap == pytest.approx({3: 1, 8: NAN}, abs=1e-12, nan_ok=True)


@pytest.mark.parametrize(
    ("num_objects", "num_results", "expected"),
    [(0, 0, {3: NAN, 8: NAN}), (0, 1, {3: NAN, 8: NAN}), (1, 2, {3: 1, 8: NAN}), (2, 0, {3: 0, 8: 0})],
)
def test_classes_without_objects_are_not_measured(backend, num_objects, num_results, expected):
    dataset = small_dataset()
    results = [hit(a) for a in dataset["annotations"]][:num_results]
    del dataset["annotations"][num_objects:]
    figures, class_ap = measure(dataset, results)
    assert list(figures) == list(FIGURES)
    assert class_ap == pytest.approx(expected, abs=1e-12, nan_ok=True)
    assert figures["AP"] == pytest.approx(expected[3], abs=1e-12, nan_ok=True)


def test_only_the_given_images_and_categories_count(backend):
    dataset = small_dataset()
    cat_found = [hit(dataset["annotations"][0])]
    for image_ids, category_ids, expected in (([1, 2], [3, 8], 0.5), ([1], [3, 8], 1), ([1, 2], [3], 1)):
        figures, class_ap = measure(dataset, cat_found, image_ids, category_ids)
        assert figures["AP"] == pytest.approx(expected)
        assert list(class_ap) == category_ids


def test_area_of_the_file_decides_what_is_small(backend):
    # In COCO it is the area of the outline, which may be far below that of the box.
    dataset = small_dataset(area=900.0)
    figures, _ = measure(dataset, [hit(a) for a in dataset["annotations"]])
    assert figures["APs"] == pytest.approx(1, abs=1e-12)
    assert np.isnan(figures["APm"])


def test_results_are_xywh_with_the_ids_of_the_file():
    boxes = np.array([[1, 2, 4, 8.5], [0, 0, 1, 1]], np.float32)
    found = ImageDetections(boxes, np.array([2, 3]), np.array([0.5, 0.75], np.float32))
    nothing = ImageDetections(np.zeros((0, 4), np.float32), np.zeros(0, int), np.zeros(0, np.float32))
    results = detections_to_results([nothing, found], [31, 57], {1: 3, 2: 8})  # label 3 is not in the file
    assert results == [{"image_id": 57, "category_id": 8, "bbox": [1, 2, 3, 6.5], "score": 0.5}]
    json.dumps(results)  # plain numbers


@pytest.mark.parametrize("seed", range(4))
def test_both_implementations_agree(monkeypatch, seed):
    pytest.importorskip("faster_coco_eval")
    dataset, predictions = random_set(seed, grid=20.0, num_images=6)
    category_ids = dataset.contiguous_id_to_coco_id
    results = detections_to_results(read_predictions(dataset, predictions), dataset.ids, category_ids)
    arguments = (dataset.coco, results, dataset.ids, list(category_ids.values()))
    fast = eval_detection_coco(*arguments)
    monkeypatch.setitem(sys.modules, "faster_coco_eval", None)
    slow = eval_detection_coco(*arguments)
    assert 0 < slow[0]["AP"] < 1
    for fast_figures, slow_figures in zip(fast, slow, strict=True):
        assert fast_figures == pytest.approx(slow_figures, abs=1e-12, nan_ok=True)


def test_lufficc_figures(backend, goldens):
    recorded = dict(np.load(goldens / "lufficc" / "coco_eval.npz"))
    dataset = json.loads(str(recorded["annotation_json"]))
    detections = []
    for index, image in enumerate(dataset["images"]):
        found = Container(**{name: recorded[f"pred_{name}_{index}"] for name in ImageDetections._fields})
        found.img_width = found.img_height = 300
        resized = found.resize((image["width"], image["height"]))
        detections.append(ImageDetections(*(resized[name] for name in ImageDetections._fields)))
    image_ids = [image["id"] for image in dataset["images"]]
    results = detections_to_results(detections, image_ids, {1: 1, 2: 3, 3: 7, 4: 90})

    expected = json.loads(str(recorded["result_bbox_json"]))
    assert [(r["image_id"], r["category_id"]) for r in results] == [(r["image_id"], r["category_id"]) for r in expected]
    for name in ("bbox", "score"):
        np.testing.assert_allclose([r[name] for r in results], [r[name] for r in expected], rtol=1e-6)
    figures, _ = eval_detection_coco(load(dataset), results, image_ids, [1, 3, 7, 90])
    for name in FIGURES[:6]:
        assert figures[name] == pytest.approx(float(recorded[f"metric_{name}"]), abs=1e-12)


PUBLISHED = {
    **{"AP": 0.5045806987, "AP50": 0.6969727247, "AP75": 0.5729816670},
    **{"APs": 0.5856257209, "APm": 0.5193996948, "APl": 0.5013978986},
    **{"AR1": 0.3868127796, "AR10": 0.5936795763, "AR100": 0.5953529829},
    **{"ARs": 0.6398109626, "ARm": 0.5664205979, "ARl": 0.5642905983},
}


def test_published_figures(backend):
    root = os.environ.get("SSD_TRUTH_ROOT")
    if not root:
        pytest.skip("SSD_TRUTH_ROOT does not name the folder of published metric figures (coco_val2014_100)")
    folder = Path(root, "coco_val2014_100")
    dataset = json.loads((folder / "instances_val2014_100.json").read_text())
    results = json.loads((folder / "instances_val2014_fakebbox100_results.json").read_text())
    image_ids = [image["id"] for image in dataset["images"]]
    category_ids = [category["id"] for category in dataset["categories"]]
    figures, class_ap = eval_detection_coco(load(dataset), results, image_ids, category_ids)
    assert figures == pytest.approx(PUBLISHED, abs=1e-9)
    assert np.nanmean(list(class_ap.values())) == pytest.approx(figures["AP"], abs=1e-12)
