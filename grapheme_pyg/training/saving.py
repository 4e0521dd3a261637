"""When checkpoints are written, and what happens when training is told to stop."""

import sys
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import Callback

from grapheme_pyg.errors import TrainingError
from grapheme_pyg.training.checkpoints import FOLDER, LAST
from grapheme_pyg.training.interrupts import Interrupted, Interrupts


class Saving(Callback):
    """Writes checkpoints within epochs and after them; stops training when a signal says so.

    A checkpoint is written only after a step of the optimiser, with nothing half added up. None is written between
    the last step of an epoch and the end of its validation: one from before that step takes its place.

    Args:
        run_dir: The run's folder; nothing is written if None.
        every: Steps of the optimiser between two checkpoints within an epoch; 0 for none.
        interrupts: Tells of signals.
    """

    def __init__(self, run_dir: Path | None, *, every: int, interrupts: Interrupts) -> None:
        self._path = None if run_dir is None else run_dir / FOLDER / LAST
        self._every, self._interrupts = every, interrupts
        self._saved = -1

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Listens to signals from now on: Lightning has set its own handlers by now."""
        self._interrupts.install()
        self._saved = trainer.global_step

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Saves if it is time, and stops if a signal has come."""
        number = int(trainer.num_training_batches)
        accumulated = trainer.accumulate_grad_batches
        last = batch_idx + 1 == number
        if last or (batch_idx + 1) % accumulated:
            return
        before_last = batch_idx + 1 + accumulated >= number
        stop = self._stops(trainer)
        if stop or before_last or (self._every and trainer.global_step >= self._saved + self._every):
            self._save(trainer)
        if stop:
            self._stop(trainer)

    def on_validation_batch_end(
        self,
        trainer: pl.Trainer,
        pl_module: pl.LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Stops if a signal has come: the epoch's last step will be taken again."""
        if self._stops(trainer):
            self._stop(trainer)

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Saves after every epoch."""
        self._save(trainer)
        if self._stops(trainer):
            self._stop(trainer)

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """What comes now is not training."""
        self._interrupts.restore()

    def on_exception(self, trainer: pl.Trainer, pl_module: pl.LightningModule, exception: BaseException) -> None:
        """What comes now is not training."""
        self._interrupts.restore()

    def _stops(self, trainer: pl.Trainer) -> bool:
        # All processes stop after the same step.
        return bool(trainer.strategy.reduce_boolean_decision(self._interrupts.came is not None, all=False))

    def _stop(self, trainer: pl.Trainer) -> None:
        saved = "nothing is saved" if self._path is None or self._saved < 0 else f"step {self._saved} is saved"
        if trainer.is_global_zero:
            name = "another process" if self._interrupts.came is None else self._interrupts.came.name
            print(f"stopped by {name} after step {trainer.global_step}; {saved}", file=sys.stderr, flush=True)
        raise Interrupted

    def _save(self, trainer: pl.Trainer) -> None:
        if self._path is None:
            return
        assert trainer.lightning_module is not None
        module = trainer.lightning_module
        for name, weight in (*module.named_parameters(), *module.named_buffers()):
            if not bool(torch.isfinite(weight.detach().sum())) and not bool(torch.isfinite(weight).all()):
                raise TrainingError(
                    f"{name.removeprefix('model.')}: expected finite weights after step {trainer.global_step}, "
                    "got NaN or infinity; the last checkpoint from before is kept"
                )
        trainer.save_checkpoint(self._path)
        self._saved = trainer.global_step
