"""One list of class names for datasets that are used together."""

from collections.abc import Sequence

from ssd.data.datasets import ArrayDataset, DetectionDataset
from ssd.structures.class_names import BACKGROUND
from ssd.utils.errors import ConfigError


def unite_class_names(names: Sequence[str], datasets: Sequence[DetectionDataset]) -> None:
    """Give VOC and CSV sets whose names come from their annotations one list, and see that all sets have the same.

    Args:
        names: of the datasets, for the message.
        datasets: VOC and CSV sets without fixed names are relabelled, for a class may lack objects in one of them.

    Raises:
        ConfigError: two sets differ in their classes, or in the order of these.
    """
    open_sets = [dataset for dataset in datasets if isinstance(dataset, ArrayDataset) and dataset.names_are_written]
    union = sorted({name for dataset in open_sets for name in dataset.class_names[1:]})
    for open_set in open_sets:
        open_set.relabel((BACKGROUND, *union))
    for name, dataset in zip(names, datasets, strict=True):
        if tuple(dataset.class_names) != tuple(datasets[0].class_names):
            raise ConfigError(
                f"datasets that are used together must have the same classes, in the same order. "
                f"{names[0]}: {', '.join(datasets[0].class_names[1:])}. {name}: {', '.join(dataset.class_names[1:])}. "
                "A CLASSES list in DATASETS.CUSTOM fixes them"
            )
