"""Class names of the public benchmarks; index = label, 0 is the background. And the loader of class names in YAML."""

from typing import Any

import yaml

BACKGROUND = "__background__"

# The twenty classes of the VOC 2007 to 2012 challenges, in the order of their labels.
VOC_CLASSES = (
    "aeroplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat", "chair", "cow", "diningtable", "dog",
    "horse", "motorbike", "person", "pottedplant", "sheep", "sofa", "train", "tvmonitor",
)  # fmt: skip

# The eighty classes of the COCO challenge, by ascending category id.
COCO_CLASSES = (
    "person", "bicycle", "car", "motorcycle", "airplane", "bus", "train", "truck", "boat", "traffic light",
    "fire hydrant", "stop sign", "parking meter", "bench", "bird", "cat", "dog", "horse", "sheep", "cow",
    "elephant", "bear", "zebra", "giraffe", "backpack", "umbrella", "handbag", "tie", "suitcase", "frisbee", "skis",
    "snowboard", "sports ball", "kite", "baseball bat", "baseball glove", "skateboard", "surfboard",
    "tennis racket", "bottle", "wine glass", "cup", "fork", "knife", "spoon", "bowl", "banana", "apple", "sandwich",
    "orange", "broccoli", "carrot", "hot dog", "pizza", "donut", "cake", "chair", "couch", "potted plant", "bed",
    "dining table", "toilet", "tv", "laptop", "mouse", "remote", "keyboard", "cell phone", "microwave", "oven",
    "toaster", "sink", "refrigerator", "book", "clock", "vase", "scissors", "teddy bear", "hair drier",
    "toothbrush",
)  # fmt: skip

_YAML_KEYS = ("names", "CLASSES", "WEIGHTS_CLASSES")
_SPLIT_KEY = "SPLIT"
_TAG = "tag:yaml.org,2002:"
_TYPED_TAGS = [_TAG + kind for kind in ("int", "float", "timestamp", "value", "merge")]


class NamesLoader(yaml.SafeLoader):
    """Read class names and SPLIT, such as 007, 16:9 and 2020-01-01, as text, where YAML has numbers and dates.

    Class names are the list, or the values of the mapping from numbers, of the keys ``names``, ``CLASSES`` and
    ``WEIGHTS_CLASSES``. Truth values (no, yes) and null are not converted: the readers of the names refuse them.
    """

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        """Return the content of a mapping."""
        if isinstance(node, yaml.MappingNode):  # which a tag does not ensure
            self.flatten_mapping(node)  # inserts what ``<<`` refers to
            for key, value in node.value:
                if key.value in _YAML_KEYS:
                    _read_as_text(value)
                elif key.value == _SPLIT_KEY:
                    _to_text([value])
        return super().construct_mapping(node, deep)


def _read_as_text(names: yaml.Node) -> None:
    items = names.value if isinstance(names, yaml.SequenceNode) else []
    if isinstance(names, yaml.MappingNode):
        items = [item for _, item in names.value]
        _read_as_decimal([key for key, _ in names.value])
    _to_text(items)


def _to_text(items: list[yaml.Node]) -> None:
    for item in items:
        if item.tag in _TYPED_TAGS and isinstance(item, yaml.ScalarNode):
            item.tag = f"{_TAG}str"


def _read_as_decimal(keys: list[yaml.Node]) -> None:
    """Read keys such as 010 and "0" as decimal numbers; refuse one that is repeated."""
    seen = set()
    for key in keys:
        if isinstance(key, yaml.ScalarNode) and key.value.isdecimal():
            key.tag, key.value = f"{_TAG}int", str(int(key.value))
            if key.value in seen:
                raise yaml.constructor.ConstructorError(None, None, f"{key.value} is repeated", key.start_mark)
            seen.add(key.value)
