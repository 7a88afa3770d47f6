"""What `ssd demo` writes: annotated images and videos, JSON, text files, a summary."""

from ssd.inference.saving.outputs import Outputs
from ssd.inference.saving.overwriting import refuse_source_folders
from ssd.inference.saving.summary import Summary

__all__ = ["Outputs", "Summary", "refuse_source_folders"]
