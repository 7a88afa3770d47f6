"""The dataset formats that are built in, and the interface that a further one fulfils."""

from ssd.data.datasets.base import BACKGROUND, DetectionDataset, Sample
from ssd.data.datasets.coco import COCO_CLASSES, COCODataset
from ssd.data.datasets.csv_table import CSVDataset
from ssd.data.datasets.voc import VOC_CLASSES, VOCDataset
from ssd.data.datasets.yolo import YOLODataset

# Those that tell the file of each image, and bear several threads.
FILE_DATASETS = (VOCDataset, COCODataset, YOLODataset, CSVDataset)
# Those that name their classes by the annotations where nobody fixes them.
NAMED_DATASETS = (VOCDataset, CSVDataset)

__all__ = [
    "BACKGROUND",
    "COCO_CLASSES",
    "FILE_DATASETS",
    "NAMED_DATASETS",
    "VOC_CLASSES",
    "COCODataset",
    "CSVDataset",
    "DetectionDataset",
    "Sample",
    "VOCDataset",
    "YOLODataset",
]
