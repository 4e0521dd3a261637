"""Training with PyTorch Lightning."""

from grapheme_pyg.training.fit import fit
from grapheme_pyg.training.module import ClassifierTraining
from grapheme_pyg.training.settings import TrainingSettings

__all__ = ["ClassifierTraining", "TrainingSettings", "fit"]
