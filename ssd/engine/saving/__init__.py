"""What `ssd demo` writes: annotated images and videos, JSON, text files, a summary."""

from ssd.engine.saving.outputs import Outputs
from ssd.engine.saving.overwriting import refuse_source_folders
from ssd.engine.saving.summary import Summary

__all__ = ["Outputs", "Summary", "refuse_source_folders"]
