"""Dictionary of tensors that are moved together: training targets and detections."""

from collections.abc import Iterator
from typing import Any


class Container:
    """Named tensors (or arrays), and the size of the image that their boxes refer to.

    As training targets: ``boxes`` (B, G, 4) corner form relative to the image, ``labels`` (B, G) int64, 0 = padding.
    As detections of one image: ``boxes`` (N, 4) corner form in pixels of an ``img_width`` x ``img_height`` image
    (0 = not set), ``labels`` (N,) int64 from 1, ``scores`` (N,) descending.
    """

    def __init__(self, **fields: Any):
        self._fields = fields
        self.img_width = 0
        self.img_height = 0

    def __getitem__(self, name: str) -> Any:
        return self._fields[name]

    def __setitem__(self, name: str, value: Any) -> None:
        self._fields[name] = value

    def __contains__(self, name: str) -> bool:
        return name in self._fields

    def __iter__(self) -> Iterator[str]:
        return iter(self._fields)

    def __repr__(self) -> str:
        return f"Container({self._fields!r}, img_width={self.img_width}, img_height={self.img_height})"

    def to(self, *args: Any, **kwargs: Any) -> "Container":
        """Apply ``Tensor.to(*args, **kwargs)`` to all tensors."""
        return self._map("to", *args, **kwargs)

    def numpy(self) -> "Container":
        """Return a Container of NumPy arrays; the tensors must be on the CPU."""
        return self._map("numpy")

    def pin_memory(self) -> "Container":
        """Return a Container in page-locked memory; DataLoader calls this when PIN_MEMORY is on."""
        return self._map("pin_memory")

    def resize(self, size: tuple[int, int]) -> "Container":
        """Return a copy whose boxes refer to the same image at another size, (width, height) in pixels."""
        if self.img_width <= 0 or self.img_height <= 0:
            raise ValueError("Container.resize needs img_width and img_height")
        width, height = size
        boxes = self["boxes"] * 1  # a copy, tensor or array
        boxes[..., 0::2] *= width / self.img_width
        boxes[..., 1::2] *= height / self.img_height
        resized = Container(**{**self._fields, "boxes": boxes})
        resized.img_width, resized.img_height = width, height
        return resized

    def _map(self, method: str, *args: Any, **kwargs: Any) -> "Container":
        mapped = Container(
            **{
                name: getattr(value, method)(*args, **kwargs) if hasattr(value, method) else value
                for name, value in self._fields.items()
            }
        )
        mapped.img_width, mapped.img_height = self.img_width, self.img_height
        return mapped
