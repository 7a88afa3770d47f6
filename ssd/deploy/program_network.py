"""Detection by a program of torch.export."""

from pathlib import Path

import numpy as np
import torch

from ssd.deploy.exported_network import ExportedNetwork
from ssd.deploy.metadata import Metadata


class ProgramNetwork(ExportedNetwork):
    """An exported .pt2 file, run by PyTorch; a Network as Predictor takes one.

    Args:
        path: the file.
        metadata: its description.
    """

    def __init__(self, path: str | Path, metadata: Metadata):
        super().__init__(path, metadata)
        self._module = torch.export.load(path).module()

    @torch.inference_mode()
    def run(self, inputs: np.ndarray) -> list[np.ndarray]:
        """See ExportedNetwork."""
        return [output.numpy() for output in self._module(torch.from_numpy(inputs))]
