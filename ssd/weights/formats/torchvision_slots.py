"""Classes of torchvision's detectors of COCO: a label is the id of a category, and of 91 labels ten are of none."""

NUM_SLOTS = 91
_UNUSED_SLOTS = (12, 26, 29, 30, 45, 66, 68, 69, 71, 83)  # ids that no category of COCO 2017 has
SLOTS = tuple(slot for slot in range(NUM_SLOTS) if slot not in _UNUSED_SLOTS)  # background and the 80 classes
NOTE = (
    "91 classes are taken for the 80 of COCO by category id; label n here is the n-th of these ids. The ten ids "
    "without a category are left out: a trained detector gives them no probability, so the scores stay the same."
)
