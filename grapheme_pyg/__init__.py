"""Image classification with one directed acyclic graph per image, on PyTorch Geometric."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from grapheme_pyg.explanation import explain
    from grapheme_pyg.model import ImageClassificationModel
    from grapheme_pyg.nn import ClassificationBrain, DagNN
    from grapheme_pyg.prediction import Prediction
    from grapheme_pyg.presets import list_presets
    from grapheme_pyg.training.fit import fit
    from grapheme_pyg.training.settings import TrainingSettings
    from grapheme_pyg.vision import VisionBrain
    from grapheme_pyg.weights import list_pretrained

__version__ = "0.2.0"

__all__ = [
    "ClassificationBrain",
    "DagNN",
    "ImageClassificationModel",
    "Prediction",
    "TrainingSettings",
    "VisionBrain",
    "explain",
    "fit",
    "list_presets",
    "list_pretrained",
]

# Where each name comes from. They are imported when they are asked for: PyTorch and PyG take three seconds, and those
# who want a version or the command's help need not wait for them.
_MODULES = {
    "ClassificationBrain": "nn",
    "DagNN": "nn",
    "ImageClassificationModel": "model",
    "Prediction": "prediction",
    "TrainingSettings": "training",
    "VisionBrain": "vision",
    "explain": "explanation",
    "fit": "training",
    "list_presets": "presets",
    "list_pretrained": "weights",
}


def __getattr__(name: str) -> Any:
    if name in _MODULES.values():
        return import_module(f"{__name__}.{name}")
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    # From now on it is found without this function.
    found = globals()[name] = getattr(import_module(f"{__name__}.{_MODULES[name]}"), name)
    return found


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
