"""evaluate(): from predictions to figures and files."""

import contextlib
import io
import json

import numpy as np
import pytest
import torch
from pycocotools.coco import COCO

from ssd.evaluation import evaluate
from ssd.structures import Container
from ssd.utils.errors import ConfigError

CAT_BOX, DOG_BOX = [10, 10, 50, 50], [0, 0, 9, 9]


class VOCStub:
    """Three images: a cat, nothing, a dog and a difficult cat."""

    class_names = ("__background__", "cat", "dog", "owl")
    metric = "voc07"
    objects = ([(CAT_BOX, 1, 0)], [], [(DOG_BOX, 2, 0), (CAT_BOX, 1, 1)])

    def __len__(self):
        return len(self.objects)

    def get_annotation(self, index):
        rows = self.objects[index]
        boxes = np.array([box for box, _, _ in rows], dtype=np.float32).reshape(-1, 4)
        labels = np.array([label for _, label, _ in rows], dtype=np.int64)
        return f"{index:06d}", (boxes, labels, np.array([flag for _, _, flag in rows], dtype=np.uint8))


class COCOStub(VOCStub):
    """The same objects under category ids that do not follow the labels, in descending order of image id."""

    metric = "coco"
    contiguous_id_to_coco_id = {1: 18, 2: 17, 3: 40}  # noqa: RUF012
    image_ids = (300, 200, 100)

    def __init__(self):
        annotations = [
            {
                "id": number,
                "image_id": self.image_ids[index],
                "category_id": self.contiguous_id_to_coco_id[label],
                "bbox": [box[0], box[1], box[2] - box[0], box[3] - box[1]],
            }
            for number, (index, (box, label, _)) in enumerate(
                (index, row) for index, rows in enumerate(self.objects) for row in rows
            )
        ]
        self.coco = COCO()
        self.coco.dataset = {
            "images": [{"id": image_id} for image_id in self.image_ids],
            "categories": [{"id": 17, "name": "dog"}, {"id": 18, "name": "cat"}, {"id": 40, "name": "owl"}],
            "annotations": annotations,
        }
        with contextlib.redirect_stdout(io.StringIO()):
            self.coco.createIndex()

    def get_annotation(self, index):
        return self.image_ids[index], super().get_annotation(index)[1][:2]


def predicted(*rows):
    return Container(
        boxes=torch.tensor([box for box, _, _ in rows], dtype=torch.float32).reshape(-1, 4),
        labels=torch.tensor([label for _, label, _ in rows], dtype=torch.int64),
        scores=torch.tensor([score for _, _, score in rows]),
    )


def some_predictions():
    """Everything found, and a cat and an owl where there is nothing."""
    return [
        predicted((CAT_BOX, 1, 0.9)),
        predicted((CAT_BOX, 1, 0.95), (CAT_BOX, 3, 0.5)),
        predicted((CAT_BOX, 1, 0.97), (DOG_BOX, 2, 0.3)),
    ]


def test_voc_by_default_of_the_dataset(tmp_path):
    result = evaluate(VOCStub(), some_predictions(), tmp_path / "new" / "folder", iteration=40)
    # cat: the difficult one ignored, then a miss, then the hit; owl: no object
    expected = {"mAP": 0.75, "cat": 0.5, "dog": 1.0, "owl": float("nan")}
    assert result.metric == "voc07"
    assert result.values == pytest.approx(expected, abs=1e-12, nan_ok=True)
    folder = tmp_path / "new" / "folder"
    assert sorted(path.name for path in folder.iterdir()) == ["metrics.json", "result_0000040.txt"]
    assert (folder / "result_0000040.txt").read_text() == result.text
    written = json.loads((folder / "metrics.json").read_text())
    assert written["dataset_size"] == 3
    assert written["values"] == {**result.values, "owl": None}


def test_voc_and_voc07_differ_in_the_area(tmp_path):
    dataset, predictions = VOCStub(), some_predictions()
    dataset.objects = ([(CAT_BOX, 1, 0)], [(DOG_BOX, 1, 0)], [])
    assert evaluate(dataset, predictions, tmp_path, metric="voc").metric == "voc"
    # misses at 0.97 and 0.95, a hit at 0.9: precision 1/3 up to recall 1/2
    assert evaluate(dataset, predictions, tmp_path, metric="voc").values["cat"] == pytest.approx(1 / 3 / 2)
    assert evaluate(dataset, predictions, tmp_path, metric="voc07").values["cat"] == pytest.approx(6 / 11 / 3)


def test_coco_by_default_of_the_dataset(tmp_path):
    result = evaluate(COCOStub(), some_predictions(), tmp_path)
    # cats by score: hit, miss, hit, so precision 1 up to recall 1/2 and 2/3 beyond, at 51 and 50 of the 101 recalls
    cat_ap = (51 * 1 + 50 * 2 / 3) / 101
    assert result.values["AP/cat"] == pytest.approx(cat_ap, abs=1e-12)
    assert result.values["AP/dog"] == pytest.approx(1, abs=1e-12)
    assert np.isnan(result.values["AP/owl"])
    assert result.main == result.values["AP"] == pytest.approx((cat_ap + 1) / 2, abs=1e-12)
    written = json.loads((tmp_path / "bbox.json").read_text())
    assert [(row["image_id"], row["category_id"]) for row in written] == [
        (300, 18),
        (200, 18),
        (200, 40),
        (100, 18),
        (100, 17),
    ]
    assert written[0]["bbox"] == [10, 10, 40, 40]
    assert json.loads((tmp_path / "metrics.json").read_text())["values"]["APl"] is None


def test_coco_file_that_lacks_a_class(tmp_path):
    dataset = COCOStub()
    dataset.contiguous_id_to_coco_id = {1: 18, 2: 17}  # the model knows owls, the file does not
    result = evaluate(dataset, some_predictions(), tmp_path)
    assert result.values == pytest.approx(evaluate(COCOStub(), some_predictions(), tmp_path).values, nan_ok=True)
    assert "owl             : nan" in result.text


def test_voc_metric_does_not_read_the_coco_file(tmp_path):
    dataset = COCOStub()
    del dataset.coco
    assert evaluate(dataset, some_predictions(), tmp_path, metric="voc").values["dog"] == pytest.approx(1)


def test_coco_without_any_detection(tmp_path):
    result = evaluate(COCOStub(), [predicted()] * 3, tmp_path)
    assert result.main == 0
    assert json.loads((tmp_path / "bbox.json").read_text()) == []


@pytest.mark.parametrize(("stub", "found"), [(VOCStub, True), (COCOStub, False)])
def test_pixels_are_inclusive_in_voc_files_only(tmp_path, stub, found):
    # Half of the dog: IoU 1/2 in inclusive pixels, 4/9 between edges.
    predictions = [predicted(), predicted(), predicted(([0, 0, 9, 4], 2, 0.9))]
    assert evaluate(stub(), predictions, tmp_path, metric="voc").values["dog"] == found


def test_predictions_are_left_alone(tmp_path):
    predictions = some_predictions()
    for stub in (VOCStub, COCOStub):
        evaluate(stub(), predictions, tmp_path)
    for after, before in zip(predictions, some_predictions(), strict=True):
        for name in before:
            assert torch.equal(after[name], before[name])


@pytest.mark.parametrize(
    ("metric", "message"),
    [
        ("voc2007", "unknown metric 'voc2007'; did you mean 'voc07'"),
        ("AP", "unknown metric 'AP'; Valid: auto, voc07, voc, coco"),
        ("coco", "'coco' needs a dataset with a COCO annotation file, VOCStub has none; use 'voc' or 'voc07'"),
    ],
)
def test_unfit_metrics_are_the_users_error(tmp_path, metric, message):
    with pytest.raises(ConfigError, match=message):
        evaluate(VOCStub(), some_predictions(), tmp_path / "untouched", metric=metric)
    assert not (tmp_path / "untouched").exists()


def test_as_many_predictions_as_images(tmp_path):
    with pytest.raises(ValueError, match="2 predictions were given for the 3 images"):
        evaluate(VOCStub(), some_predictions()[:2], tmp_path)
