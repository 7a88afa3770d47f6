"""The built-in dataset formats, and the interface of a dataset."""

from ssd.data.datasets.base import AnnotatedImage, ArrayDataset, DetectionDataset, Sample
from ssd.data.datasets.coco import COCODataset
from ssd.data.datasets.csv_table import CSVDataset
from ssd.data.datasets.voc import VOCDataset
from ssd.data.datasets.yolo import YOLODataset
from ssd.structures.class_names import BACKGROUND, COCO_CLASSES, VOC_CLASSES

__all__ = [
    "BACKGROUND",
    "COCO_CLASSES",
    "VOC_CLASSES",
    "AnnotatedImage",
    "ArrayDataset",
    "COCODataset",
    "CSVDataset",
    "DetectionDataset",
    "Sample",
    "VOCDataset",
    "YOLODataset",
]
