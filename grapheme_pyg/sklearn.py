"""GraphemeClassifier: images as graphs behind the interface of scikit-learn's estimators."""

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
    raise ImportError('scikit-learn 1.6 is needed: pip install "grapheme-pyg[sklearn]"') from error

if TYPE_CHECKING:
    from sklearn.utils import Tags

    from grapheme_pyg.vision.pixels import Images

__all__ = ["GraphemeClassifier"]


class GraphemeClassifier(ClassifierMixin, BaseEstimator):
    """A classifier for scikit-learn, which trains and applies a :class:`grapheme_pyg.ImageClassificationModel`.

    Images of one size are an array of numbers, as images or with their pixels in rows. The least number in the training
    images becomes black and the greatest one white; uint8 is taken as it is, from 0 to 255. Images of several sizes are
    a list. A blank image is predicted to be of the first class, with the same probability of all classes.

    The constructor stores its arguments; :meth:`fit` checks them.

    Args:
        preset: The size of the model; see :func:`grapheme_pyg.list_presets`.
        vision: Arguments of :class:`grapheme_pyg.VisionBrain` that differ from the preset's, such as ``{"mode":
            "superpixel"}``. ``in_channels`` is 3 for images in colour unless it is given.
        model: Arguments of :class:`grapheme_pyg.ImageClassificationModel` that differ from the preset's.
        image_shape: Height and width of the images in rows, or ``(height, width, 3)``. If None, rows are square images
            where the number of pixels is a square, else images of height 1.
        epochs: Passes over the training images; chosen by their number if None.
        batch_size: Images in a mini-batch; chosen by their number if None.
        settings: Other fields of :class:`grapheme_pyg.TrainingSettings`, such as ``{"augment": False}``.
        class_weight: Factors for the losses of classes: None, ``"balanced"``, or a dict by label.
        random_state: Seed of the initial weights, the order of images and their augmentation: an integer, a
            ``numpy.random.RandomState``, or None for another seed in each fit.
        verbose: Whether to show progress.

    Attributes:
        classes_: The labels, sorted; in order of appearance if they cannot be sorted.
        model_: The trained model.
        n_features_in_: Pixels of an image times channels, if the training images were an array.
        image_shape_: ``(height, width)`` or ``(height, width, channels)``, if the training images were an array.
        levels_: The numbers that are black and white, if the training images were an array.

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
                width, 3]``; or a list of n images of any sizes as :meth:`grapheme_pyg.VisionBrain.forward` takes them.
            y: n hashable labels. Floats with a fraction are refused, as they are targets of a regression.

        Returns:
            The classifier itself.

        Raises:
            ValueError: Images, labels or an argument of the constructor are not as above.
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
            X: As of :meth:`fit`; in an array, of the size of the training images.

        Returns:
            ``[n]``.

        Raises:
            NotFittedError: The classifier is not trained.
            ValueError: The images are not as above.
        """
        best = self.predict_proba(X).argmax(axis=1)
        labels: np.ndarray[Any, Any] = self.classes_[best]
        return labels

    def predict_proba(self, X: Any) -> "np.ndarray[Any, Any]":  # noqa: N803
        """Predicts the probability of each class, ``[n, num_classes]`` float32, in the order of ``classes_``.

        ``X`` and errors are those of :meth:`predict`.
        """
        check_is_fitted(self, "model_")
        return self.model_.predict(self._images(X), verbose=self.verbose).probabilities.numpy()

    def score(self, X: Any, y: Any, sample_weight: Any = None) -> float:  # noqa: N803
        """Measures the accuracy, in [0, 1], with weights of images ``[n]`` if they are given.

        ``X`` and errors are those of :meth:`predict`; ``y`` are n labels.
        """
        truth, predicted = _as_labels(y), self.predict(X)
        check_consistent_length(truth, predicted)
        hits = [label == other for label, other in zip(truth, predicted, strict=True)]
        return float(np.average(hits, weights=sample_weight))

    def __sklearn_tags__(self) -> "Tags":
        tags = super().__sklearn_tags__()
        tags.input_tags.three_d_array = True
        # Of the tables that scikit-learn judges by, which are no images.
        tags.classifier_tags.poor_score = True
        return tags

    def _training_images(self, X: Any, labels: "np.ndarray[Any, Any]") -> "tuple[Images, np.ndarray[Any, Any]]":  # noqa: N803
        """Images as a model takes them, and their labels; notes what arrays are like."""
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
        """Images as the model takes them."""
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
        """The shape of images of so many numbers, which is known if they did not come in rows."""
        given = self.image_shape
        expected = f"(height, width) or (height, width, 3), {count} numbers in all"
        if given is not None and not isinstance(given, Sequence):
            raise ValueError(f"image_shape: expected {expected}, got {given!r}")
        side = isqrt(count)
        square = (side, side) if side**2 == count else (1, count)
        shape = square if given is None else tuple(as_int("image_shape", length, 1) for length in given)
        if of_images is not None:
            if given is not None and shape != of_images:
                raise ValueError(f"image_shape: expected that of the images, {of_images}, or None, got {given!r}")
            shape = of_images
        if len(shape) < 2 or shape[2:] not in ((), (1,), (3,)) or prod(shape) != count:
            raise ValueError(f"image_shape: expected {expected}, got {shape}")
        return shape

    def _pixels(self, rows: "np.ndarray[Any, Any]") -> Tensor:
        """uint8 ``[n, channels, height, width]``."""
        low, high = self.levels_
        if rows.dtype != np.uint8 or (low, high) != (0, 255):
            rows = (((rows - low) / ((high - low) or 1)).clip(0, 1) * 255).round().astype(np.uint8)
        # PyTorch has no tensors for memory that is read-only.
        pixels = torch.from_numpy(np.require(rows, requirements=["C", "W"]))
        height, width, *channels = self.image_shape_
        return pixels.view(-1, height, width, *(channels or [1])).movedim(-1, 1)

    def _class_weights(self, names: list[str]) -> dict[str, float] | str | None:
        """Factors for the losses of classes, as training takes them."""
        weights = self.class_weight
        if weights is None or weights == "balanced":
            return "auto" if weights else None
        names_of = dict(zip(self.classes_.tolist(), names, strict=True))
        if not isinstance(weights, Mapping) or not set(weights) <= set(names_of):
            expected = f"None, 'balanced' or weights by label, of {list(names_of)}"
            raise ValueError(f"class_weight: expected {expected}, got {weights!r}")
        return {names_of[label]: weight for label, weight in weights.items()}


def _are_images(X: Any) -> bool:  # noqa: N803
    """Whether X is a sequence of images, not an array or a list of rows."""
    of_objects = isinstance(X, np.ndarray) and X.dtype == object and X.ndim == 1
    if not (of_objects or isinstance(X, Sequence)) or len(X) == 0:
        return False
    return isinstance(X[0], PILImage) or getattr(X[0], "ndim", 0) > 1


def _as_rows(X: Any) -> "tuple[Any, tuple[int, ...] | None]":  # noqa: N803
    """Numbers in rows, one for each image, and the shape of the images; None if they came in rows."""
    if (X.ndim if hasattr(X, "ndim") else np.asarray(X).ndim) < 3:
        return X, None
    images = check_array(X, allow_nd=True)
    return images.reshape(len(images), -1), images.shape[1:]


def _channels(images: "Images") -> int:
    """1 if all images are grey, else 3."""
    if isinstance(images, Tensor):
        return images.shape[1]
    return 3 if any(len(channels_first(image, f"X[{i}]", batched=False)) == 3 for i, image in enumerate(images)) else 1


def _as_labels(y: Any) -> "np.ndarray[Any, Any]":
    """Labels as an array, of objects if they are neither all strings nor all numbers."""
    if isinstance(y, Sequence) and not isinstance(y, str):
        numbers = all(isinstance(label, Number | list) or hasattr(label, "__array__") for label in y)
        if not numbers and not all(isinstance(label, str) for label in y):
            return np.fromiter(y, object, len(y))
    labels: np.ndarray[Any, Any] = column_or_1d(y, warn=True)
    return labels


def _encoded(labels: "np.ndarray[Any, Any]") -> "tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]":
    """The distinct labels, and for each label its place among them."""
    if labels.dtype != object:
        check_classification_targets(labels)
        classes, numbers = np.unique(labels, return_inverse=True)
        return classes, numbers
    for position, label in enumerate(labels):
        if label is None or not isinstance(label, Hashable):
            raise ValueError(f"y: expected hashable labels, got {label!r} at position {position}")
    distinct = list(dict.fromkeys(labels))
    with suppress(TypeError):  # those of several types have no order
        distinct.sort()
    place = {label: i for i, label in enumerate(distinct)}
    return np.fromiter(distinct, object, len(distinct)), np.array([place[label] for label in labels])


def _names(classes: "np.ndarray[Any, Any]") -> list[str]:
    """Names of classes for the model: the labels, if they can be names, else their numbers."""
    names = [str(label) for label in classes]
    if len({canonical(name) for name in names}) == len(names) and all(map(is_name, names)):
        return names
    return [str(i) for i in range(len(names))]
