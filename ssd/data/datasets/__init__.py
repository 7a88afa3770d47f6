"""The dataset formats that are built in, and the interface that a further one fulfils."""

from ssd.data.datasets.array_dataset import ArrayDataset
from ssd.data.datasets.base import DetectionDataset, Sample
from ssd.data.datasets.coco import COCODataset
from ssd.data.datasets.csv_table import CSVDataset
from ssd.data.datasets.voc import VOCDataset
from ssd.data.datasets.yolo import YOLODataset
from ssd.structures.class_names import BACKGROUND, COCO_CLASSES, VOC_CLASSES

__all__ = [
    "BACKGROUND",
    "COCO_CLASSES",
    "VOC_CLASSES",
    "ArrayDataset",
    "COCODataset",
    "CSVDataset",
    "DetectionDataset",
    "Sample",
    "VOCDataset",
    "YOLODataset",
]
