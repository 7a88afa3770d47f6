"""All kinds of checkpoints that are written for other projects, by name."""

from ssd.weights.formats import lufficc, mmdet_ssd, torchvision_ssd300
from ssd.weights.formats.target import Target

TARGETS: dict[str, Target] = {
    target.name: target for target in (lufficc.TARGET, torchvision_ssd300.TARGET, mmdet_ssd.TARGET)
}
