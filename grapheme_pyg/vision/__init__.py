"""Image → directed acyclic graph: signal processing, nothing learned."""

from grapheme_pyg.vision.brain import VisionBrain
from grapheme_pyg.vision.image_graph import ImageGraph

__all__ = ["ImageGraph", "VisionBrain"]
