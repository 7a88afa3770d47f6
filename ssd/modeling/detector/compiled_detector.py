"""A detector for evaluation, compiled by torch.compile."""

import torch
from torch import Tensor

from ssd.modeling.box_head import Predictions
from ssd.modeling.detector.ssd_detector import SSDDetector


class CompiledDetector(SSDDetector):
    """A detector that shares the weights of ``detector``, and computes its predictions in a compiled function.

    ``mode`` is True, or "reduce-overhead" for CUDA graphs, which start all kernels of the network at once. The first
    batch of each size takes minutes.
    """

    def __init__(self, detector: SSDDetector, mode: bool | str):
        super().__init__(detector.backbone, detector.neck, detector.box_head)
        self._compiled = torch.compile(detector.predict, dynamic=False, mode=mode if isinstance(mode, str) else None)

    def predict(self, images: Tensor) -> Predictions:
        """Return the raw predictions at every prior."""
        # Copies: the next batch overwrites the output of a CUDA graph.
        return Predictions(*(output.clone() for output in self._compiled(images)))
