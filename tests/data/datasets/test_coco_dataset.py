import json
import pickle

import cv2
import numpy as np
import pytest

from ssd.data.datasets import COCODataset
from ssd.utils.errors import DatasetError


def make_content(**changes):
    content = {
        "images": [{"id": 7, "file_name": "7.png", "width": 40, "height": 30}, {"id": 3, "file_name": "3.png"}],
        "categories": [{"id": 9, "name": "dog"}, {"id": 2, "name": "cat"}],
        "annotations": [
            {"id": 1, "image_id": 3, "category_id": 9, "bbox": [1, 2, 3, 4]},
            {"id": 2, "image_id": 7, "category_id": 2, "bbox": [5, 6, 7.5, 8], "iscrowd": 0},
            {"id": 3, "image_id": 7, "category_id": 2, "bbox": [0, 0, 9, 9], "iscrowd": 1},
            {"id": 4, "image_id": 3, "category_id": 2, "bbox": [30, 20, 20, 5]},
            {"id": 5, "image_id": 999, "category_id": 2, "bbox": [1, 1, 2, 2]},
        ],
    }
    return {**content, **changes}


def test_boxes_labels_and_names(write_coco) -> None:
    dataset = COCODataset(*write_coco(make_content()))
    assert dataset.class_names == ("__background__", "cat", "dog")
    assert dataset.contiguous_id_to_coco_id == {1: 2, 2: 9}
    image, annotation, index = dataset[0]
    assert (image.shape, index) == ((30, 40, 3), 0)
    assert (annotation["boxes"].tolist(), annotation["labels"].tolist()) == ([[5, 6, 12.5, 14]], [1])
    image_id, (boxes, labels) = dataset.get_annotation(1)
    assert image_id == 3
    assert boxes.tolist() == [[1, 2, 4, 6], [30, 20, 40, 25]]  # the second is clipped
    assert labels.tolist() == [2, 1]
    assert (boxes.dtype, labels.dtype) == (np.float32, np.int64)
    info = dataset.get_img_info(1)  # the file does not say its size
    assert (info["id"], info["height"], info["width"]) == (3, 30, 40)


def test_golden(goldens, tmp_path) -> None:
    golden = dict(np.load(goldens / "lufficc" / "coco_eval.npz"))
    text = str(golden["annotation_json"])
    (tmp_path / "annotations.json").write_text(text)
    for image in json.loads(text)["images"]:
        (tmp_path / image["file_name"]).touch()
    dataset = COCODataset(tmp_path, tmp_path / "annotations.json")
    assert len(dataset) == 5
    for i in range(5):
        _, (boxes, labels) = dataset.get_annotation(i)
        np.testing.assert_allclose(boxes, golden[f"gt_boxes_{i}"].reshape(-1, 4), rtol=1e-6)
        np.testing.assert_array_equal(labels, golden[f"gt_labels_{i}"])


def write_one_image(write_coco, bbox, **size):
    """A dataset of one image, 40 x 30 pixels whatever the file says."""
    image = {"id": 1, "file_name": "1.png", **size}
    annotations = [{"image_id": 1, "category_id": 2, "bbox": bbox}]
    folder, ann_file = write_coco(make_content(images=[image], annotations=annotations))
    cv2.imwrite(str(folder / "1.png"), np.full((30, 40, 3), 90, np.uint8))
    return folder, ann_file


@pytest.mark.parametrize("bbox", [[20, 5, 18, 20], [32, 5, 6, 20]])
def test_a_box_that_leaves_the_annotated_size_makes_the_image_decide(write_coco, caplog, bbox) -> None:
    """With width and height exchanged the first box would be clipped at 30, the second dropped."""
    dataset = COCODataset(*write_one_image(write_coco, bbox, width=30, height=40))
    image, annotation, _ = dataset[0]
    assert image.shape == (30, 40, 3)
    assert annotation["boxes"].tolist() == [[bbox[0], 5, 38, 25]]
    assert dataset.get_img_info(0)["width"] == 40
    assert not caplog.records


def test_the_image_is_not_opened_for_boxes_that_fit_or_leave_by_rounding(write_coco) -> None:
    folder, ann_file = write_one_image(write_coco, [10.3, 5, 29.71, 25], width=40, height=30)
    (folder / "1.png").write_bytes(b"")
    assert COCODataset(folder, ann_file).get_annotation(0)[1][0][0, 2] == 40
    folder, ann_file = write_one_image(write_coco, [10, 5, 31, 25], width=40, height=30)
    (folder / "1.png").write_bytes(b"")
    with pytest.raises(DatasetError, match=r"1\.png: not an image"):
        COCODataset(folder, ann_file)


def test_coco_object_is_read_when_asked_for_and_complete(write_coco, capsys) -> None:
    content = make_content()
    del content["annotations"][0]["id"]
    dataset = COCODataset(*write_coco(content))
    assert "coco" not in vars(dataset)  # workers are not sent the whole file
    assert len(pickle.dumps(dataset)) < 5000
    coco = dataset.coco
    assert capsys.readouterr().out == ""
    assert coco.getImgIds() == [7, 3]
    annotations = coco.loadAnns(coco.getAnnIds())
    assert sorted(item["id"] for item in annotations) == [1, 2, 3, 4, 5]
    assert all(item["area"] == item["bbox"][2] * item["bbox"][3] for item in annotations)
    assert [item["iscrowd"] for item in annotations if item["image_id"] == 7] == [0, 1]
    content["annotations"][0]["id"] = 0  # which pycocotools takes for no match
    assert sorted(COCODataset(*write_coco(content)).coco.anns) == [1, 2, 3, 4, 5]


@pytest.mark.parametrize("root", ["dog", "animals"])  # an export of Roboflow names it like a class, or like the set
def test_a_category_that_only_groups_others_is_no_class(write_coco, caplog, root) -> None:
    categories = [
        {"id": 0, "name": root, "supercategory": "none"},
        {"id": 2, "name": "cat", "supercategory": root},
        {"id": 9, "name": "dog", "supercategory": root},
        {"id": 10, "name": "bird", "supercategory": "bird"},  # without objects; no other category is in it
    ]
    files = write_coco(make_content(categories=categories))
    with caplog.at_level("INFO"):
        dataset = COCODataset(*files)
    assert dataset.class_names == ("__background__", "cat", "dog", "bird")
    assert dataset.contiguous_id_to_coco_id == {1: 2, 2: 9, 3: 10}
    assert dataset.get_annotation(1)[1][1].tolist() == [2, 1]
    assert [record.getMessage().endswith(f": {root}") for record in caplog.records] == [True]
    names = ("__background__", "dog", "cat", "animals")  # as an older checkpoint has it
    given = COCODataset(*files, class_names=names)
    assert given.contiguous_id_to_coco_id == {1: 9, 2: 2} | ({3: 0} if root == "animals" else {})


def test_given_class_names_fix_the_labels(write_coco) -> None:
    categories = [{"id": 9, "name": "dog"}, {"id": 2, "name": "cat"}, {"id": 0, "name": "all"}]
    files = write_coco(make_content(categories=categories))
    dataset = COCODataset(*files, class_names=("__background__", "dog", "bird", "cat"))
    assert dataset.class_names == ("__background__", "dog", "bird", "cat")
    assert dataset.contiguous_id_to_coco_id == {1: 9, 3: 2}
    assert dataset.get_annotation(1)[1][1].tolist() == [1, 3]
    with pytest.raises(DatasetError, match=r"image 7: unknown class 'cat'.*Known classes: dog, bird"):
        COCODataset(*files, class_names=("__background__", "dog", "bird"))
