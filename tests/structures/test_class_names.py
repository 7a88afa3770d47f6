from ssd.structures.class_names import COCO_CLASSES, VOC_CLASSES


def test_official_classes() -> None:
    assert (len(VOC_CLASSES), VOC_CLASSES[14]) == (20, "person")
    assert list(VOC_CLASSES) == sorted(VOC_CLASSES)
    assert len(COCO_CLASSES) == len(set(COCO_CLASSES)) == 80
    assert (COCO_CLASSES[0], COCO_CLASSES[55], COCO_CLASSES[79]) == ("person", "cake", "toothbrush")
