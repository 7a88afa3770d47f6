"""Datasets written to disk, in each format that can be read."""

from ssd.tools.data.writers.content import Content, collect_content
from ssd.tools.data.writers.write import FORMATS, Written, write_dataset

__all__ = ["FORMATS", "Content", "Written", "collect_content", "write_dataset"]
