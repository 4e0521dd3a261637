"""Learning on typed directed acyclic graphs. Knows no images."""

from grapheme_pyg.nn.classification_brain import ClassificationBrain
from grapheme_pyg.nn.dag_nn import DagNN

__all__ = ["ClassificationBrain", "DagNN"]
