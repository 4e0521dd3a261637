r"""Batch normalisation (Ioffe and Szegedy, 2015) with ReLU, in one forward and one backward pass.

With the normalised input :math:`h` and the gradient :math:`z` where ReLU is active,

.. math:: \partial x = \frac{w}{\sigma} \bigl(z - \operatorname{mean}(z) - h \operatorname{mean}(z h)\bigr), \qquad
          \partial w = \sum z h, \qquad \partial b = \sum z
"""

from typing import Any

import torch
from torch import Tensor

from grapheme_pyg.ops.definition import define, single_at_least


def norm_relu(x: Tensor, weight: Tensor, bias: Tensor, eps: float) -> tuple[Tensor, Tensor, Tensor]:
    """Normalises rows by their means and variances, scales and shifts them, and applies ReLU.

    Args:
        x: ``[num_rows, channels]``, floating point, at least one row.
        weight: ``[channels]``.
        bias: ``[channels]``.
        eps: Number that is added to the variances.

    Returns:
        The result, in the shape and dtype of ``x``; means and biased variances, ``[channels]``, at least in single
        precision and without gradients.
    """
    out: tuple[Tensor, Tensor, Tensor] = _norm_relu(x, weight, bias, eps)
    return out


def norm_relu_known(x: Tensor, weight: Tensor, bias: Tensor, mean: Tensor, variance: Tensor, eps: float) -> Tensor:
    """Does the same with given means and variances, ``[channels]``, which get no gradients."""
    out: Tensor = _known(x, weight, bias, mean, variance, eps)
    return out


def norm_relu_backward(
    grad: Tensor, x: Tensor, weight: Tensor, bias: Tensor, mean: Tensor, variance: Tensor, eps: float
) -> tuple[Tensor, Tensor, Tensor]:
    """Computes the gradients of :func:`norm_relu` with respect to its first three arguments."""
    function = _norm_relu_backward
    if torch.is_grad_enabled():
        # The operator has no gradient itself, and a second derivative needs the statistics as functions of x.
        function, (variance, mean) = _plain_backward, torch.var_mean(x.to(mean.dtype), 0, correction=0)
    gradients: tuple[Tensor, Tensor, Tensor] = function(grad, x, weight, bias, mean, variance, eps)
    return gradients


def _plain(x: Tensor, weight: Tensor, bias: Tensor, eps: float) -> tuple[Tensor, Tensor, Tensor]:
    variance, mean = torch.var_mean(x.to(single_at_least(x.dtype)), 0, correction=0)
    return _plain_known(x, weight, bias, mean, variance, eps), mean, variance


def _plain_known(x: Tensor, weight: Tensor, bias: Tensor, mean: Tensor, variance: Tensor, eps: float) -> Tensor:
    scale = weight / (variance + eps).sqrt()
    return ((x - mean) * scale + bias).relu().to(x.dtype)


def _plain_backward(
    grad: Tensor, x: Tensor, weight: Tensor, bias: Tensor, mean: Tensor, variance: Tensor, eps: float
) -> tuple[Tensor, Tensor, Tensor]:
    inverse, normalised, active, grad_weight, grad_bias = _common(grad, x, weight, bias, mean, variance, eps)
    inner = active - grad_bias / x.shape[0] - normalised * (grad_weight / x.shape[0])
    return (weight * inverse * inner).to(x.dtype), grad_weight, grad_bias


def _common(
    grad: Tensor, x: Tensor, weight: Tensor, bias: Tensor, mean: Tensor, variance: Tensor, eps: float
) -> tuple[Tensor, ...]:
    """Returns 1 / σ, h, z, and the gradients of weight and bias."""
    inverse = (variance + eps).rsqrt()
    normalised = (x - mean) * inverse
    active = grad * (normalised * weight + bias > 0).to(mean.dtype)
    return inverse, normalised, active, (active * normalised).sum(0), active.sum(0)


def _fake(x: Tensor, weight: Tensor, bias: Tensor, eps: float) -> tuple[Tensor, Tensor, Tensor]:  # noqa: ARG001
    mean, variance = (x.new_empty(x.shape[1], dtype=single_at_least(x.dtype)) for _ in range(2))
    return torch.empty_like(x, memory_format=torch.contiguous_format), mean, variance


def _fake_known(x: Tensor, *_: Any) -> Tensor:
    return torch.empty_like(x, memory_format=torch.contiguous_format)


def _fake_backward(grad: Tensor, x: Tensor, *_: Any) -> tuple[Tensor, Tensor, Tensor]:  # noqa: ARG001
    return _fake(x, x, x, 0.0)


def _save(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
    x, weight, bias, ctx.eps = inputs
    _, mean, variance = output
    ctx.save_for_backward(x, weight, bias, mean, variance)
    ctx.mark_non_differentiable(mean, variance)


def _backward(ctx: Any, grad: Tensor, *_: Any) -> tuple[Tensor | None, ...]:
    x, weight, bias, mean, variance = ctx.saved_tensors
    grad_x, grad_weight, grad_bias = norm_relu_backward(grad, x, weight, bias, mean, variance, ctx.eps)
    return grad_x, grad_weight.to(weight.dtype), grad_bias.to(bias.dtype), None


def _save_known(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:  # noqa: ARG001
    *tensors, ctx.eps = inputs
    ctx.save_for_backward(*tensors)


def _backward_known(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
    x, weight, bias, mean, variance = ctx.saved_tensors
    inverse, _, active, grad_weight, grad_bias = _common(grad, x, weight, bias, mean, variance, ctx.eps)
    grad_x = (weight * inverse * active).to(x.dtype)
    return grad_x, grad_weight.to(weight.dtype), grad_bias.to(bias.dtype), None, None, None


_norm_relu = define(
    "norm_relu(Tensor x, Tensor weight, Tensor bias, float eps) -> (Tensor, Tensor, Tensor)",
    _plain,
    _fake,
    backward=_backward,
    save=_save,
)
_known = define(
    "norm_relu_known(Tensor x, Tensor weight, Tensor bias, Tensor mean, Tensor variance, float eps) -> Tensor",
    _plain_known,
    _fake_known,
    backward=_backward_known,
    save=_save_known,
)
_norm_relu_backward = define(
    "norm_relu_backward(Tensor grad, Tensor x, Tensor weight, Tensor bias, Tensor mean, Tensor variance, float eps)"
    " -> (Tensor, Tensor, Tensor)",
    _plain_backward,
    _fake_backward,
)
