"""Averages of the weights over training."""

import pytorch_lightning as pl
from pytorch_lightning.callbacks import WeightAveraging
from torch import Tensor


class MovingAverage(WeightAveraging):
    r"""Validates, and ends training with, an exponential moving average of the weights.

    After each step of the optimiser, with :math:`T` steps in all (Polyak and Juditsky, "Acceleration of Stochastic
    Approximation by Averaging", 1992; with exponential weights as in Tarvainen and Valpola, 2017),

    .. math:: \bar w \leftarrow \bar w + \frac{w - \bar w}{\max(1, share \cdot T)}

    The running statistics of batch normalisation are averaged alike.

    Args:
        share: Of all steps, over which it averages, in (0, 1].
    """

    def __init__(self, share: float) -> None:
        super().__init__(avg_fn=self._move)
        self._share, self._weight = share, 1.0

    def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        """Keeps the average where the model will be; it is not there yet."""
        self._device = trainer.strategy.root_device
        super().setup(trainer, pl_module, stage)

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """The number of steps is known now."""
        self._weight = 1 / max(1.0, self._share * float(trainer.estimated_stepping_batches))

    def on_fit_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """A finished run that is resumed does not train, and so does not end training either."""
        self.on_train_end(trainer, pl_module)

    def _move(self, average: Tensor, current: Tensor, _: Tensor | int) -> Tensor:
        # Integers are indices, which stay the same.
        return average.lerp(current, self._weight) if average.is_floating_point() else current
