"""GraphemeClassifier: an estimator for scikit-learn that classifies images as graphs."""

from collections.abc import Hashable, Mapping, Sequence
from contextlib import suppress
from math import isqrt, prod
from numbers import Number
from typing import TYPE_CHECKING, Any, Self

import numpy as np
import torch
from PIL.Image import Image as PILImage
from torch import Tensor

from grapheme_pyg.checks import as_int
from grapheme_pyg.extras import missing
from grapheme_pyg.labels import canonical
from grapheme_pyg.model import ImageClassificationModel
from grapheme_pyg.names import is_name
from grapheme_pyg.training import TrainingSettings
from grapheme_pyg.training.fit import fit
from grapheme_pyg.vision.pixels import channels_first

try:
    from sklearn.base import BaseEstimator, ClassifierMixin
    from sklearn.utils import assert_all_finite, check_array, check_consistent_length, check_random_state
    from sklearn.utils.multiclass import check_classification_targets
    from sklearn.utils.validation import check_is_fitted, column_or_1d, validate_data
except ImportError as error:
    raise missing("sklearn", "in version 1.6 or later for GraphemeClassifier", "sklearn") from error

if TYPE_CHECKING:
    from sklearn.utils import Tags

    from grapheme_pyg.vision.pixels import Images

__all__ = ["GraphemeClassifier"]


class GraphemeClassifier(ClassifierMixin, BaseEstimator):
    """A scikit-learn classifier that trains and applies a :class:`grapheme_pyg.ImageClassificationModel`.

    Images of one size are an array of numbers, either as images or with one row of pixels per image. The lowest value
    in the training images becomes black and the highest becomes white; uint8 values always range from 0 to 255. Images
    of several sizes are a list. A blank image gets equal probabilities of all classes, and the first class as
    its label.

    The constructor only stores its arguments; :meth:`fit` validates them.

    Args:
        preset: The size of the model; see :func:`grapheme_pyg.list_presets`.
        vision: Arguments of :class:`grapheme_pyg.VisionBrain` that override the preset's, such as ``{"mode":
            "superpixel"}``. ``in_channels`` defaults to 3 for images in colour.
        model: Arguments of :class:`grapheme_pyg.ImageClassificationModel` that override the preset's.
        image_shape: The shape of images that are given as rows, ``(height, width)`` or ``(height, width, 3)``. If None,
            a row is a square image if its number of pixels is a square, and otherwise an image of height 1.
        epochs: Number of epochs; chosen by the number of images if None.
        batch_size: Number of images in a mini-batch; chosen by the number of images if None.
        settings: Other fields of :class:`grapheme_pyg.TrainingSettings`, such as ``{"augment": False}``.
        class_weight: Weights of the classes in the loss: None, ``"balanced"``, or a dict by label.
        random_state: Seed of the initial weights, the order of the images and their augmentation: an integer, a
            ``numpy.random.RandomState``, or None for a new seed in each fit.
        verbose: Whether to show progress.

    Attributes:
        classes_: The labels, sorted; in order of appearance if they cannot be sorted.
        model_: The trained model.
        n_features_in_: Number of pixels of an image times channels. This attribute and the next two exist only if the
            training images were an array.
        image_shape_: ``(height, width)`` or ``(height, width, channels)``.
        levels_: The values that become black and white.

    Example:
        >>> rows = np.zeros((8, 64), dtype=np.uint8)
        >>> rows[:4, 24:32], rows[4:, 3::8] = 255, 255
        >>> classifier = GraphemeClassifier("tiny", epochs=1, random_state=0).fit(rows, ["across"] * 4 + ["down"] * 4)
        >>> classifier.classes_.tolist(), classifier.image_shape_, classifier.predict_proba(rows).shape
        (['across', 'down'], (8, 8), (8, 2))
    """

    def __init__(
        self,
        preset: str = "base",
        *,
        vision: Mapping[str, Any] | None = None,
        model: Mapping[str, Any] | None = None,
        image_shape: tuple[int, ...] | None = None,
        epochs: int | None = None,
        batch_size: int | None = None,
        settings: Mapping[str, Any] | None = None,
        class_weight: Mapping[Any, float] | str | None = None,
        random_state: Any = None,
        verbose: bool = False,
    ) -> None:
        self.preset = preset
        self.vision = vision
        self.model = model
        self.image_shape = image_shape
        self.epochs = epochs
        self.batch_size = batch_size
        self.settings = settings
        self.class_weight = class_weight
        self.random_state = random_state
        self.verbose = verbose

    def fit(self, X: Any, y: Any) -> Self:  # noqa: N803
        """Trains a new model.

        Args:
            X: Numbers, ``[n, height · width]``, ``[n, height · width · 3]``, ``[n, height, width]`` or ``[n, height,
                width, 3]``; or a list of n images of any size, in any form that
                :meth:`grapheme_pyg.VisionBrain.forward` accepts.
            y: n hashable labels. Floats with a fractional part are refused as regression targets.

        Returns:
            The classifier itself.

        Raises:
            ValueError: Images, labels or an argument of the constructor are invalid.
        """
        images, labels = self._training_images(X, _as_labels(y))
        self.classes_, numbers = _encoded(labels)
        names = _names(self.classes_)
        seed = int(check_random_state(self.random_state).randint(2**31 - 1))
        settings: dict[str, Any] = {"seed": seed, "epochs": self.epochs, "batch_size": self.batch_size}
        settings |= {"class_weights": self._class_weights(names)} | dict(self.settings or {})
        vision = {"in_channels": _channels(images)} | dict(self.vision or {})
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            self.model_ = ImageClassificationModel.from_preset(self.preset, names, vision=vision, **(self.model or {}))
        fit(self.model_, images, numbers, settings=TrainingSettings(**settings), verbose=self.verbose)
        return self

    def predict(self, X: Any) -> "np.ndarray[Any, Any]":  # noqa: N803
        """Predicts the most probable labels.

        Args:
            X: Images as in :meth:`fit`; an array must have the image size of the training images.

        Returns:
            The labels, ``[n]``.

        Raises:
            NotFittedError: The classifier is not trained.
            ValueError: The images are invalid.
        """
        best = self.predict_proba(X).argmax(axis=1)
        labels: np.ndarray[Any, Any] = self.classes_[best]
        return labels

    def predict_proba(self, X: Any) -> "np.ndarray[Any, Any]":  # noqa: N803
        """Predicts the probability of each class.

        Args:
            X: Images as in :meth:`predict`, which raises the same errors.

        Returns:
            ``[n, num_classes]`` float32, in the order of ``classes_``.
        """
        check_is_fitted(self, "model_")
        return self.model_.predict(self._images(X), verbose=self.verbose).probabilities.numpy()

    def score(self, X: Any, y: Any, sample_weight: Any = None) -> float:  # noqa: N803
        """Returns the accuracy, in [0, 1].

        Args:
            X: Images as in :meth:`predict`, which raises the same errors.
            y: n true labels.
            sample_weight: Weights of the images, ``[n]``; equal if None.
        """
        truth, predicted = _as_labels(y), self.predict(X)
        check_consistent_length(truth, predicted)
        hits = [label == other for label, other in zip(truth, predicted, strict=True)]
        return float(np.average(hits, weights=sample_weight))

    def __sklearn_tags__(self) -> "Tags":
        tags = super().__sklearn_tags__()
        tags.input_tags.three_d_array = True
        # scikit-learn's checks expect good scores on tables, which are not images.
        tags.classifier_tags.poor_score = True
        return tags

    def _training_images(self, X: Any, labels: "np.ndarray[Any, Any]") -> "tuple[Images, np.ndarray[Any, Any]]":  # noqa: N803
        """Returns images for the model and their labels, and sets the attributes that describe an array."""
        for name in ("n_features_in_", "feature_names_in_", "image_shape_", "levels_"):
            self.__dict__.pop(name, None)
        if _are_images(X):
            assert_all_finite(labels, input_name="y")
            check_consistent_length(X, labels)
            return X, labels
        rows, shape = _as_rows(X)
        rows, labels = validate_data(self, rows, labels)
        self.image_shape_ = self._shape(rows.shape[1], shape)
        self.levels_ = (0.0, 255.0) if rows.dtype == np.uint8 else (float(rows.min()), float(rows.max()))
        return self._pixels(rows), labels

    def _images(self, X: Any) -> "Images":  # noqa: N803
        """Returns images for the model."""
        if _are_images(X):
            images: Images = X
            return images
        rows, shape = _as_rows(X)
        if not hasattr(self, "levels_"):
            raise ValueError("X: expected a list of images, as in training, got an array")
        if shape is not None and shape != self.image_shape_:
            raise ValueError(f"X: expected images of shape {self.image_shape_}, as in training, got {shape}")
        return self._pixels(validate_data(self, rows, reset=False))

    def _shape(self, count: int, of_images: tuple[int, ...] | None) -> tuple[int, ...]:
        """Returns the shape of images of ``count`` values; ``of_images`` is their shape, None for rows."""
        given = self.image_shape
        expected = f"(height, width) or (height, width, 3) with {count} values"
        if given is not None and not isinstance(given, Sequence):
            raise ValueError(f"image_shape: expected {expected}, got {given!r}")
        side = isqrt(count)
        square = (side, side) if side**2 == count else (1, count)
        shape = square if given is None else tuple(as_int("image_shape", length, 1) for length in given)
        if of_images is not None:
            if given is not None and shape != of_images:
                raise ValueError(f"image_shape: expected {of_images}, the shape of the images, or None, got {given!r}")
            shape = of_images
        if len(shape) < 2 or shape[2:] not in ((), (1,), (3,)) or prod(shape) != count:
            raise ValueError(f"image_shape: expected {expected}, got {shape}")
        return shape

    def _pixels(self, rows: "np.ndarray[Any, Any]") -> Tensor:
        """Returns rows as uint8 images ``[n, channels, height, width]``."""
        low, high = self.levels_
        if rows.dtype != np.uint8 or (low, high) != (0, 255):
            rows = (((rows - low) / ((high - low) or 1)).clip(0, 1) * 255).round().astype(np.uint8)
        # PyTorch does not support read-only memory.
        pixels = torch.from_numpy(np.require(rows, requirements=["C", "W"]))
        height, width, *channels = self.image_shape_
        return pixels.view(-1, height, width, *(channels or [1])).movedim(-1, 1)

    def _class_weights(self, names: list[str]) -> dict[str, float] | str | None:
        """Returns the weights of classes for :class:`grapheme_pyg.TrainingSettings`."""
        weights = self.class_weight
        if weights is None or weights == "balanced":
            return "auto" if weights else None
        names_of = dict(zip(self.classes_.tolist(), names, strict=True))
        if not isinstance(weights, Mapping) or not set(weights) <= set(names_of):
            expected = f"None, 'balanced' or a dict with keys in {list(names_of)}"
            raise ValueError(f"class_weight: expected {expected}, got {weights!r}")
        return {names_of[label]: weight for label, weight in weights.items()}


def _are_images(X: Any) -> bool:  # noqa: N803
    """Tells whether X is a sequence of images, and not an array or a list of rows."""
    of_objects = isinstance(X, np.ndarray) and X.dtype == object and X.ndim == 1
    if not (of_objects or isinstance(X, Sequence)) or len(X) == 0:
        return False
    return isinstance(X[0], PILImage) or getattr(X[0], "ndim", 0) > 1


def _as_rows(X: Any) -> "tuple[Any, tuple[int, ...] | None]":  # noqa: N803
    """Returns one row of values per image, and the shape of the images; None if X has rows already."""
    if (X.ndim if hasattr(X, "ndim") else np.asarray(X).ndim) < 3:
        return X, None
    images = check_array(X, allow_nd=True)
    return images.reshape(len(images), -1), images.shape[1:]


def _channels(images: "Images") -> int:
    """Returns 1 if all images are grey, else 3."""
    if isinstance(images, Tensor):
        return images.shape[1]
    return 3 if any(len(channels_first(image, f"X[{i}]", batched=False)) == 3 for i, image in enumerate(images)) else 1


def _as_labels(y: Any) -> "np.ndarray[Any, Any]":
    """Returns labels as an array, which has dtype object unless they are all strings or all numbers."""
    if isinstance(y, Sequence) and not isinstance(y, str):
        numbers = all(isinstance(label, Number | list) or hasattr(label, "__array__") for label in y)
        if not numbers and not all(isinstance(label, str) for label in y):
            return np.fromiter(y, object, len(y))
    labels: np.ndarray[Any, Any] = column_or_1d(y, warn=True)
    return labels


def _encoded(labels: "np.ndarray[Any, Any]") -> "tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]":
    """Returns the distinct labels, and the index of each label among them."""
    if labels.dtype != object:
        check_classification_targets(labels)
        classes, numbers = np.unique(labels, return_inverse=True)
        return classes, numbers
    for position, label in enumerate(labels):
        if label is None or not isinstance(label, Hashable):
            raise ValueError(f"y: expected hashable labels, got {label!r} at position {position}")
    distinct = list(dict.fromkeys(labels))
    with suppress(TypeError):  # labels of different types may have no order
        distinct.sort()
    place = {label: i for i, label in enumerate(distinct)}
    return np.fromiter(distinct, object, len(distinct)), np.array([place[label] for label in labels])


def _names(classes: "np.ndarray[Any, Any]") -> list[str]:
    """Returns class names for the model: the labels if all are valid names, else their indices."""
    names = [str(label) for label in classes]
    if len({canonical(name) for name in names}) == len(names) and all(map(is_name, names)):
        return names
    return [str(i) for i in range(len(names))]
