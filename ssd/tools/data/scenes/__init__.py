"""Rendered scenes in PASCAL VOC layout: a dataset that needs no download, to prove an installation with.

``ssd data scenes --output datasets/scenes`` writes one. Scene number k of a seed is always the same image,
however many are written.
"""

from ssd.tools.data.scenes.scene import SceneObject, render_scene
from ssd.tools.data.scenes.shapes import SHAPES
from ssd.tools.data.scenes.write import write_samples, write_scenes

__all__ = ["SHAPES", "SceneObject", "render_scene", "write_samples", "write_scenes"]
