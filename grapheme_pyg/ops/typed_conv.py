r"""The typed convolution of rows that are gathered through a table, :math:`out_v = \sum_r x_{s(v, r)} W_r`.

:math:`s(v, r)` is the row that v reads along relation r, if any. The gradients are

.. math:: \partial W_r = \sum_v x_{s(v, r)}^\top \, \partial out_v, \qquad
          \partial x_u = \sum_r \partial out_{t(u, r)} W_r^\top,

where :math:`t(u, r)` is the v that reads u along r: the same operation through the reverse table. If some u has several
readers along r, the products are computed first and then summed for each u. Both gradients are bilinear again, so they
can be differentiated any number of times.

Kernels read the rows of the left factor of a product through the table and never write the gathered rows (M. Dukhan,
"The Indirect Convolution Algorithm", 2019).
"""

from collections.abc import Iterator
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from grapheme_pyg.ops.definition import define, single_at_least

# Bytes gathered at once without a kernel; on a lattice, gathered rows are nine times as large as the states.
PIECE = 2**26


def typed_conv(x: Tensor, rows: Tensor, weight: Tensor, readers: Tensor | None = None) -> Tensor:
    """Multiplies gathered rows by the weights of their relations and sums over relations.

    Args:
        x: ``[num_rows, in_channels]``, floating point.
        rows: ``[num_readers, num_relations]`` int32: 0 where nothing is read, else the number of the row plus one.
        weight: ``[num_relations, in_channels, out_channels]``, floating point.
        readers: ``[num_rows, num_relations]`` int32, the reverse table; None if a row has several readers along one
            relation. Only gradients need it.

    Returns:
        ``[num_readers, out_channels]`` in the dtype of ``x``; sums are at least in single precision.
    """
    # Exported programs run where this operator does not exist.
    operator = decomposed if torch.compiler.is_exporting() else _typed_conv
    result: Tensor = operator(x, rows, weight, readers)
    return result


def decomposed(x: Tensor, rows: Tensor, weight: Tensor, readers: Tensor | None = None) -> Tensor:  # noqa: ARG001
    """Implements the convolution by PyTorch's own operators."""
    # Exported programs would keep a conversion that changes nothing.
    weight = weight if weight.dtype == x.dtype else weight.to(x.dtype)
    return _gather(x, rows) @ weight.flatten(0, 1)


def _plain(x: Tensor, rows: Tensor, weight: Tensor, readers: Tensor | None) -> Tensor:  # noqa: ARG001
    pieces = list(_pieces(x, rows))
    if len(pieces) == 1:
        return decomposed(x, rows, weight)
    return torch.cat([decomposed(x, rows[piece], weight) for piece in pieces])


def _plain_weight_grad(x: Tensor, rows: Tensor, grad: Tensor, readers: Tensor | None) -> Tensor:  # noqa: ARG001
    total = x.new_zeros(rows.shape[1] * x.shape[1], grad.shape[1], dtype=single_at_least(x.dtype))
    for piece in _pieces(x, rows):
        total += _gather(x, rows[piece]).t() @ grad[piece]
    return total.view(rows.shape[1], x.shape[1], grad.shape[1])


def _pieces(x: Tensor, rows: Tensor) -> Iterator[slice]:
    """Yields slices of readers whose gathered rows have at most ``PIECE`` bytes."""
    num_readers, num_relations = rows.shape
    length = max(1, PIECE // max(1, num_relations * x.shape[1] * x.element_size()))
    for start in range(0, max(1, num_readers), length):
        yield slice(start, start + length)


def _gather(x: Tensor, rows: Tensor) -> Tensor:
    """Gathers rows through a table, ``[num_readers, num_relations · channels]``, with zeros where there is none."""
    padded = F.pad(x, (0, 0, 1, 0))
    return padded.index_select(0, rows.reshape(-1)).view(rows.shape[0], rows.shape[1] * x.shape[1])


def _fake(x: Tensor, rows: Tensor, weight: Tensor, readers: Tensor | None) -> Tensor:  # noqa: ARG001
    return x.new_empty(rows.shape[0], weight.shape[2])


def _fake_weight_grad(x: Tensor, rows: Tensor, grad: Tensor, readers: Tensor | None) -> Tensor:  # noqa: ARG001
    return x.new_empty(rows.shape[1], x.shape[1], grad.shape[1], dtype=single_at_least(x.dtype))


def _rows_gradient(grad: Tensor, rows: Tensor, weight: Tensor, readers: Tensor | None, num_rows: int) -> Tensor:
    """Computes the gradient of the rows that were read, ``[num_rows, in_channels]``."""
    if readers is not None:
        return typed_conv(grad, readers, weight.transpose(1, 2), rows)
    products = (grad @ weight.to(grad.dtype).flatten(0, 1).t()).view(-1, weight.shape[1])
    total = products.new_zeros(num_rows + 1, weight.shape[1], dtype=single_at_least(products.dtype))
    return total.index_add(0, rows.reshape(-1), products.to(total.dtype))[1:].to(grad.dtype)


def _save(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:  # noqa: ARG001
    x, rows, factor, readers = inputs
    ctx.save_for_backward(x, rows, factor, readers)


def _backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
    x, rows, weight, readers = ctx.saved_tensors
    grad_x = grad_weight = None
    if ctx.needs_input_grad[0]:
        grad_x = _rows_gradient(grad, rows, weight, readers, x.shape[0])
    if ctx.needs_input_grad[2]:
        grad_weight = _weight_grad(x, rows, grad, readers).to(weight.dtype)
    return grad_x, None, grad_weight, None


def _backward_weight_grad(ctx: Any, grad_weight: Tensor) -> tuple[Tensor | None, ...]:
    x, rows, grad, readers = ctx.saved_tensors
    grad_x = grad_grad = None
    if ctx.needs_input_grad[0]:
        grad_x = _rows_gradient(grad, rows, grad_weight, readers, x.shape[0])
    if ctx.needs_input_grad[2]:
        grad_grad = typed_conv(x, rows, grad_weight, readers)
    return grad_x, None, grad_grad, None


_typed_conv = define(
    "typed_conv(Tensor x, Tensor rows, Tensor weight, Tensor? readers) -> Tensor",
    _plain,
    _fake,
    backward=_backward,
    save=_save,
)
_weight_grad = define(
    "typed_conv_weight_grad(Tensor x, Tensor rows, Tensor grad, Tensor? readers) -> Tensor",
    _plain_weight_grad,
    _fake_weight_grad,
    backward=_backward_weight_grad,
    save=_save,
)
