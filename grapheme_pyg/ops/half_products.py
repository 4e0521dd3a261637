"""Scalar products with rows that are stored in half precision."""

from typing import Any

import torch
from torch import Tensor

from grapheme_pyg.ops.definition import define

# Stored rows that are converted to single precision together, so that they stay in the processor's cache; and number of
# rows from which converting pays.
AT_ONCE, MANY = 2**11, 32


def half_products(rows: Tensor, stored: Tensor) -> Tensor:
    """Returns the scalar products of rows with stored rows, without a copy of all of these in single precision.

    Args:
        rows: ``[num_rows, width]`` float32.
        stored: ``[num_stored, width]`` float16, without a gradient.

    Returns:
        ``[num_rows, num_stored]`` float32.
    """
    # Exported programs run where this operator does not exist.
    if torch.compiler.is_exporting():
        return rows @ stored.float().t()
    out: Tensor = (_plain if len(rows) >= MANY else _half_products)(rows, stored)
    return out


def _plain(rows: Tensor, stored: Tensor) -> Tensor:
    return torch.cat([rows @ part.float().t() for part in stored.split(AT_ONCE)], dim=1)


def _save(ctx: Any, inputs: tuple[Tensor, Tensor], output: Tensor) -> None:  # noqa: ARG001
    ctx.save_for_backward(inputs[1])


def _backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
    (stored,) = ctx.saved_tensors
    return grad @ stored.float(), None


_half_products = define(
    "half_products(Tensor rows, Tensor stored) -> Tensor",
    _plain,
    lambda rows, stored: rows.new_empty(rows.shape[0], stored.shape[0]),
    backward=_backward,
    save=_save,
)
