"""Averages of the weights over training."""

from typing import Any

import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import WeightAveraging
from torch import Tensor


class MovingAverage(WeightAveraging):
    r"""Validates, and ends training with, an average of the weights over the last part of training.

    After step :math:`t` of the optimiser (polynomial-decay averaging: Shamir and Zhang, "Stochastic Gradient Descent
    for Non-smooth Optimization", 2013),

    .. math:: \bar w_t = \bar w_{t-1} + \frac{w_t - \bar w_{t-1}}{\max(1, share \cdot t)}

    The running statistics of batch normalisation are averaged alike.

    Args:
        share: Of the steps so far, over which it averages, in (0, 1].
    """

    def __init__(self, share: float) -> None:
        super().__init__(multi_avg_fn=self._move)
        self._share, self._weight = share, 1.0

    def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        """Keeps the average where the model will be; it is not there yet."""
        self._device = trainer.strategy.root_device
        super().setup(trainer, pl_module, stage)

    def on_fit_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """A finished run that is resumed does not train, and so does not end training either."""
        self.on_train_end(trainer, pl_module)

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Moves the average, if the optimiser has taken a step."""
        self._weight = 1 / max(1.0, self._share * trainer.global_step)
        super().on_train_batch_end(trainer, pl_module, outputs, batch, batch_idx)

    def _move(self, averages: list[Tensor], current: list[Tensor], _: Tensor | int) -> None:
        # Tensors of one dtype. Integers are indices, which stay the same.
        if averages[0].is_floating_point():
            torch._foreach_lerp_(averages, current, self._weight)
