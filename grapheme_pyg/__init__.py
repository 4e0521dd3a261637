"""Image classification with one directed acyclic graph per image, on PyTorch Geometric."""

from typing import TYPE_CHECKING, Any

from grapheme_pyg.augmentation import RandomWarp
from grapheme_pyg.model import ImageClassificationModel
from grapheme_pyg.nn import ClassificationBrain, DagNN
from grapheme_pyg.prediction import Prediction
from grapheme_pyg.vision import ImageGraph, VisionBrain

if TYPE_CHECKING:
    from grapheme_pyg.explanation import explain
    from grapheme_pyg.training import TrainingSettings, fit

__version__ = "0.1.0"

__all__ = [
    "ClassificationBrain",
    "DagNN",
    "ImageClassificationModel",
    "ImageGraph",
    "Prediction",
    "RandomWarp",
    "TrainingSettings",
    "VisionBrain",
    "explain",
    "fit",
]


def __getattr__(name: str) -> Any:
    # So do PyG's explainers, one.
    if name == "explain":
        from grapheme_pyg.explanation import explain

        return explain
    # Lightning takes two seconds to import: only those who train wait for it.
    if name in ("TrainingSettings", "fit"):
        try:
            from grapheme_pyg import training
        except ModuleNotFoundError as error:
            if error.name != "pytorch_lightning":
                raise
            raise ImportError(f'{name} needs PyTorch Lightning: pip install "grapheme-pyg[train]"') from error
        return getattr(training, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
