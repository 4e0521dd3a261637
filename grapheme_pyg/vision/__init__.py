"""Conversion of images to directed acyclic graphs by signal processing; nothing is learned."""

from grapheme_pyg.vision.blob import BlobFinder
from grapheme_pyg.vision.brain import VisionBrain
from grapheme_pyg.vision.drawings import Drawing, find_drawings
from grapheme_pyg.vision.finder import Finder, register_finder
from grapheme_pyg.vision.grid import GridFinder
from grapheme_pyg.vision.hybrid import HybridFinder
from grapheme_pyg.vision.image_graph import ImageGraph
from grapheme_pyg.vision.superpixel import SuperpixelFinder

register_finder("grid", GridFinder)
register_finder("blob", BlobFinder)
register_finder("superpixel", SuperpixelFinder)
register_finder("hybrid", HybridFinder)

__all__ = ["Drawing", "Finder", "ImageGraph", "VisionBrain", "find_drawings", "register_finder"]
