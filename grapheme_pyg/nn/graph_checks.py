"""Checks of features, labels and devices."""

from itertools import chain

import torch
from torch import Tensor, nn

from grapheme_pyg.dag import check_integers, check_range, require_tensor
from grapheme_pyg.errors import GraphError


def check_device(name: str, values: Tensor, module: nn.Module) -> None:
    """Checks that a tensor is on the device of all of a module's weights and buffers.

    Args:
        name: Name of the tensor.
        values: The tensor.
        module: The module; single parts of it may have been moved.

    Raises:
        GraphError: Naming both devices.
    """
    for weight in chain(module.parameters(), module.buffers()):
        if weight.device != values.device:
            raise GraphError(f"{name}: expected device {weight.device}, like the weights, got {values.device}")


def to_features(name: str, what: str, values: object, shape: tuple[int, int], dtype: torch.dtype) -> Tensor:
    """Converts features of nodes or edges to the dtype of the weights.

    Args:
        name: Name of the field.
        what: ``"node"`` or ``"edge"``.
        values: ``[N, channels]``, floating point, finite.
        shape: Number of nodes or edges, and the smallest number of channels.
        dtype: Dtype of the weights.

    Raises:
        GraphError: They are not floating point, have another shape, or are not finite; then the message names the first
            such value and its place.
    """
    values = require_tensor(name, values)
    if not values.is_floating_point():
        raise GraphError(f"{name}: expected a floating-point dtype, got {values.dtype}")
    if values.dim() != 2 or values.shape[0] != shape[0] or values.shape[1] < shape[1]:
        expected = f"[{shape[0]}, at least {shape[1]}]"
        raise GraphError(f"{name}: expected shape {expected}, got {list(values.shape)}")
    values = values.to(dtype)
    check_finite(name, what, values)
    return values


def check_finite(name: str, what: str, values: Tensor) -> None:
    """Refuses features that contain infinity or NaN; see :func:`to_features`."""
    if values.numel() == 0:
        return
    # One pass without memory; NaN is both the least and the largest value.
    low, high = torch.aminmax(values.detach())
    if not bool((high - low).isfinite()):
        wrong = (~values.isfinite()).nonzero()
        if wrong.numel() > 0:
            row, column = wrong[0].tolist()
            came = f"{float(values[row, column])} at {what} {row}, column {column}"
            raise GraphError(f"{name}: expected finite values, got {came}")


def check_labels(y: object, num_graphs: int, num_classes: int) -> None:
    """Checks that the classes of a batch are ``[num_graphs]`` int64 in [0, num_classes).

    Raises:
        GraphError: Naming the first wrong graph, what was expected and what came.
    """
    labels = require_tensor("y", y)
    check_integers("y", labels, (num_graphs,))
    check_range("y", "graph", labels, num_classes)
