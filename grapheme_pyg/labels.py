"""Conversion of labels and class names from the types that people have them in."""

import unicodedata
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from grapheme_pyg.dag import check_range
from grapheme_pyg.names import is_name

# Largest number of names that a message shows.
NAMED = 20


def canonical(name: str) -> str:
    """Returns the form in which names are compared, NFC, because file systems store an "é" as one character or two."""
    return unicodedata.normalize("NFC", name)


def to_names(classes: Any) -> list[str]:
    """Returns the names of classes.

    Args:
        classes: Number of classes, whose names are then "0", "1" and so on; or a sequence, array or column of names.

    Raises:
        ValueError: There is none, two are equal under Unicode normalisation, one has control characters or lone
            surrogates, or ``classes`` has another type.
    """
    expected = "classes: expected a positive integer or distinct names"
    if isinstance(classes, int | np.integer) and not isinstance(classes, bool):
        names = [str(i) for i in range(classes)]
    elif isinstance(classes, str | bytes | Mapping) or not hasattr(classes, "__getitem__"):  # sets have no order
        raise ValueError(f"{expected}, got {classes!r}")
    else:
        names = [str(name) for name in (classes.tolist() if hasattr(classes, "tolist") else classes)]
    if not names or len({canonical(name) for name in names}) < len(names):
        raise ValueError(f"{expected}, got {classes!r}")
    check_name("classes", *names)
    return names


def check_name(argument: str, *names: str) -> None:
    """Refuses names that cannot be saved with a model.

    Raises:
        ValueError: A name has control characters, which a terminal would obey, or lone surrogates, as in file names
            that are not UTF-8.
    """
    if unsaved := [name for name in names if not is_name(name)]:
        raise ValueError(f"{argument}: expected names without control characters, got {unsaved[0]!r}")


def match_classes(
    data: Sequence[str], model: Sequence[str], *, name: str = "classes", whose: str = "the model"
) -> Tensor:
    """Returns the position of each class of some data among the classes of a model.

    Args:
        data: Names of the data's classes.
        model: Names of the model's classes.
        name: Name of the data, for the message.
        whose: Name of the model, for the message.

    Returns:
        ``[len(data)]`` int64.

    Raises:
        ValueError: The model lacks a class; the message shows both lists.
    """
    places = {canonical(known): i for i, known in enumerate(model)}
    if any(canonical(one) not in places for one in data):
        raise ValueError(f"{name}: expected classes of {whose}, {_listed(model)}, got {_listed(data)}")
    return torch.tensor([places[canonical(one)] for one in data], dtype=torch.int64)


def to_labels(
    labels: Any, count: int | None = None, *, classes: Sequence[str] | None = None, name: str = "labels"
) -> Tensor:
    """Converts labels to a tensor.

    Args:
        labels: ``[N]`` or ``[N, 1]``: a tensor, array, list or column of integers of any width, bools, floats without a
            fraction, or names of classes.
        count: Expected number of labels; any if None.
        classes: Names of the classes. If None, labels cannot be names, and their range is not checked.
        name: Name of the labels, for messages.

    Returns:
        ``[N]`` int64, in [0, number of classes).

    Raises:
        ValueError: The labels are invalid; the message names the first wrong position.
    """
    values = labels.detach().cpu() if isinstance(labels, Tensor) else _to_tensor(labels, classes, name)
    size = "[N]" if count is None else f"[{count}]"
    kinds = "integers" if classes is None else "integers or names of classes"
    wrong = f"{name}: expected {kinds} of shape {size}, got"
    if values.dim() == 2 and values.shape[1] == 1:
        values = values[:, 0]
    if values.dim() != 1 or values.shape[0] != (values.shape[0] if count is None else count):
        raise ValueError(f"{wrong} {values.dtype} of shape {list(values.shape)}")
    if values.is_complex():
        raise ValueError(f"{wrong} {values.dtype}")
    found = values.to(torch.int64)
    if values.is_floating_point() and not torch.equal(found.to(values.dtype), values):
        place = int((found.to(values.dtype) != values).nonzero()[0])
        raise ValueError(f"{wrong} {float(values[place])} at position {place}")
    if classes is not None:
        check_range(name, "position", found, len(classes), ValueError)
    return found.clone(memory_format=torch.contiguous_format)


def _to_tensor(labels: Any, classes: Sequence[str] | None, name: str) -> Tensor:
    if isinstance(labels, str | bytes | Mapping):
        raise ValueError(f"{name}: expected one label for each image, got {type(labels).__name__}")
    try:
        array = np.asarray(labels)
    except (TypeError, ValueError, RuntimeError) as error:
        raise ValueError(f"{name}: expected one label for each image, got {type(labels).__name__}: {error}") from error
    if array.dtype.kind in "OUT" and all(isinstance(value, str) for value in array.flat):
        return _of_names([str(value) for value in array.flat], classes, name).view(array.shape)
    if array.dtype.kind == "O" and all(isinstance(value, int | np.integer) for value in array.flat):
        array = array.astype(np.int64)
    if array.dtype.kind not in "biuf" or (array.dtype == np.uint64 and array.size and array.max() >= 2**63):
        raise ValueError(f"{name}: expected integers or names of classes, got {array.dtype}")
    return torch.from_numpy(array.astype(np.float64 if array.dtype.kind == "f" else np.int64))


def _of_names(names: list[str], classes: Sequence[str] | None, name: str) -> Tensor:
    if classes is None:
        raise ValueError(f"{name}: expected integers, got names: {_listed(names)}")
    places = {canonical(known): i for i, known in enumerate(classes)}
    for position, one in enumerate(names):
        if canonical(one) not in places:
            raise ValueError(
                f"{name}: expected names of classes, {_listed(classes)}, got {one!r} at position {position}"
            )
    return torch.tensor([places[canonical(one)] for one in names], dtype=torch.int64)


def _listed(names: Sequence[str]) -> str:
    more = len(names) - NAMED
    return f"{list(names[:NAMED])}" + (f" and {more} more" if more > 0 else "")


def spread(labels: Tensor, count: int) -> Tensor:
    """Chooses a part of a data set: the first images of each class, in proportion to its size, but at least one.

    Args:
        labels: ``[N]`` int64, in any order.
        count: Number of images to choose; all if there are fewer.

    Returns:
        Positions of the chosen images, ``[min(count, N)]`` int64, ascending.

    Raises:
        ValueError: There are more classes than images to choose.
    """
    num_classes = int(labels.unique().numel())
    if count < num_classes:
        raise ValueError(f"limit: expected at least one image for each of {num_classes} classes, got {count}")
    order = labels.argsort(stable=True)
    sizes = torch.bincount(labels)
    first = sizes.cumsum(0) - sizes
    rank = torch.empty_like(labels)
    rank[order] = torch.arange(len(labels)) - first[labels[order]]
    # First the first image of each class, then always one of the class with the smallest chosen share.
    chosen = (rank / sizes[labels]).argsort(stable=True)[:count]
    return chosen.sort().values
