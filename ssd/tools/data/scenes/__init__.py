"""Rendered scenes in Pascal VOC layout: a dataset that needs no download, for a first test of an installation.

Scene number k of a seed is always the same image, regardless of the number of scenes.
"""

from ssd.tools.data.scenes.render import SceneObject, render_scene
from ssd.tools.data.scenes.scene_files import write_samples, write_scenes
from ssd.tools.data.scenes.shapes import SHAPES

__all__ = ["SHAPES", "SceneObject", "render_scene", "write_samples", "write_scenes"]
