"""Positions from the indices of a data set."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

Index = int | np.integer[Any] | slice | Sequence[int] | np.ndarray[Any, Any] | Tensor


def to_positions(index: Index, size: int) -> Tensor:
    """Turns an index of any kind into positions.

    Args:
        index: An integer, a slice, or integers or a mask of ``size`` truth values as a sequence, an array or a tensor.
            Negative integers count from the end.
        size: The number of positions.

    Returns:
        int64 in [0, size), of shape ``[]`` for an integer and ``[K]`` otherwise.

    Raises:
        IndexError: An integer is out of range.
        ValueError: The index is of another kind or shape.
    """
    expected = f"index: expected an integer, a slice, a list of integers or a mask of {size} truth values"
    try:
        if isinstance(index, slice):
            array = np.arange(size)[index]
        else:
            array = np.asarray(index.cpu() if isinstance(index, Tensor) else index)
    except (TypeError, ValueError, RuntimeError) as error:
        raise ValueError(f"{expected}, got {index!r}") from error
    if array.dtype == bool and array.shape == (size,):
        array = array.nonzero()[0]
    # An empty list becomes an array of floats.
    elif array.ndim > 1 or (array.dtype.kind not in "iu" and array.shape != (0,)):
        got = f"{array.dtype} of shape {list(array.shape)}" if array.ndim else repr(index)
        raise ValueError(f"{expected}, got {got}")
    outside = (array < -size) | (array >= size)
    if outside.any():
        raise IndexError(f"index: expected integers in [{-size}, {size}), got {array[outside][0]}")
    return torch.as_tensor(array.astype(np.int64) % size)
