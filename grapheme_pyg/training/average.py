"""MovingAverage: the average of the weights over the last part of training."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn


class MovingAverage:
    r"""Averages weights and running statistics over the last part of training.

    After step :math:`t` of the optimiser (polynomial-decay averaging: Shamir and Zhang, "Stochastic Gradient Descent
    for Non-smooth Optimization", 2013),

    .. math:: \bar w_t = \bar w_{t-1} + \frac{w_t - \bar w_{t-1}}{\max(1, share \cdot t)}

    Args:
        model: The module whose floating-point parameters and buffers are averaged.
        share: The share of the steps so far over which weights are averaged, in [0, 1]; 0 averages nothing.

    Attributes:
        tensors: The averages of the floating-point parameters and buffers, in order; empty if ``share`` is 0.
    """

    def __init__(self, model: nn.Module, share: float) -> None:
        self._share = share
        both = [*model.parameters(), *model.buffers()] if share else []
        self._current = [tensor.detach() for tensor in both if tensor.is_floating_point()]
        self.tensors = [tensor.clone() for tensor in self._current]

    def update(self, step: int) -> None:
        """Moves the averages towards the weights after ``step`` steps."""
        if self.tensors:
            torch._foreach_lerp_(self.tensors, self._current, 1 / max(1.0, self._share * step))

    def load(self, tensors: list[Tensor]) -> None:
        """Loads averages, such as those of a checkpoint."""
        for own, stored in zip(self.tensors, tensors, strict=True):
            own.copy_(stored)

    @contextmanager
    def applied(self) -> Iterator[None]:
        """Gives the model the averages within the context, and its weights afterwards."""
        self.exchange()
        try:
            yield
        finally:
            self.exchange()

    def exchange(self) -> None:
        """Exchanges the model's weights and the averages."""
        for average, current in zip(self.tensors, self._current, strict=True):
            kept = current.clone()
            current.copy_(average)
            average.copy_(kept)
