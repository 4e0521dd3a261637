"""What features and labels must be, and where."""

from itertools import chain

import torch
from torch import Tensor, nn

from grapheme_pyg.dag import check_integers, check_range, require_tensor
from grapheme_pyg.errors import GraphError


def check_device(name: str, values: Tensor, module: nn.Module) -> None:
    """Refuses to compute on another device than that of a module's weights.

    Args:
        name: Of the tensor.
        values: What the module is given.
        module: With all its parts, of which one may have been moved alone.

    Raises:
        GraphError: Naming both devices.
    """
    for weight in chain(module.parameters(), module.buffers()):
        if weight.device != values.device:
            raise GraphError(f"{name}: expected device {weight.device}, as of the weights, got {values.device}")


def to_features(name: str, what: str, values: object, shape: tuple[int, int], dtype: torch.dtype) -> Tensor:
    """Features of nodes or edges in the precision of a network's weights.

    Args:
        name: Of the field.
        what: Whose features they are: ``"node"`` or ``"edge"``.
        values: ``[N, channels]``, of any floating-point precision, finite.
        shape: Number of nodes or edges, and the least number of channels.
        dtype: Of the weights.

    Raises:
        GraphError: They are of another kind or shape; or naming the first value that is not finite, and its place.
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
    """Refuses features with infinite values or none at all (NaN).

    Args:
        name: Of the field.
        what: Whose features they are: ``"node"`` or ``"edge"``.
        values: ``[N, channels]``, floating point.

    Raises:
        GraphError: Naming the first offending value and its place.
    """
    if values.numel() == 0:
        return
    # The least and the largest value take one pass and no memory, and NaN is both.
    low, high = torch.aminmax(values.detach())
    if not bool((high - low).isfinite()):
        wrong = (~values.isfinite()).nonzero()
        if wrong.numel() > 0:
            row, column = wrong[0].tolist()
            came = f"{float(values[row, column])} at {what} {row}, column {column}"
            raise GraphError(f"{name}: expected finite values, got {came}")


def check_labels(y: object, num_graphs: int, num_classes: int) -> None:
    """Refuses classes that a batch cannot be trained with.

    Args:
        y: ``[num_graphs]`` int64, in [0, num_classes).
        num_graphs: Number of graphs.
        num_classes: Number of classes.

    Raises:
        GraphError: Naming the first offending graph, what was expected and what came.
    """
    labels = require_tensor("y", y)
    check_integers("y", labels, (num_graphs,))
    check_range("y", "graph", labels, num_classes)
