"""What format the dataset in a folder has."""

from ssd.data.sniffing.find import find_layout
from ssd.data.sniffing.layout import Layout

__all__ = ["Layout", "find_layout"]
