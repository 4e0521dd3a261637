"""Training: fit and its settings; :mod:`grapheme_pyg.training.loop` has the loop."""

from grapheme_pyg.training.fit import fit
from grapheme_pyg.training.settings import TrainingSettings

__all__ = ["TrainingSettings", "fit"]
