"""What a person sees of training: a bar, a line for each epoch, and logs of its metrics."""

import csv
import io
import time
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
from pytorch_lightning.callbacks import Callback
from tqdm import tqdm

from grapheme_pyg.atomic import replace_file
from grapheme_pyg.datasets.samplers import EpochBatches
from grapheme_pyg.ops import compiled, describe_kernels
from grapheme_pyg.training.module import ClassifierTraining, EpochMetrics

# Steps between two looks at the loss: each one waits for the device.
REFRESH = 20


class EpochReport(Callback):
    """Keeps, logs and prints the metrics of each epoch.

    Args:
        path: Where to keep the metrics of all epochs as CSV, or None. A resumed run has them in its checkpoint.
        batches: The mini-batches, of all processes together.
        verbose: Whether to show a progress bar (on stderr) and print a line for each epoch (on stdout).
    """

    def __init__(self, path: Path | None, batches: EpochBatches, *, verbose: bool) -> None:
        self.metrics: list[EpochMetrics] = []
        self._path, self._batches, self._verbose = path, batches, verbose
        # Of this epoch: graphs so far, seconds before an interruption, and when it started or went on.
        self._graphs, self._before = 0, 0.0
        self._started = self._trained = 0.0
        self._bar: Any = None

    def state_dict(self) -> dict[str, Any]:
        """What a checkpoint holds: the rows, and what is counted of an epoch that is not over."""
        return {"rows": self.metrics, "graphs": self._graphs, "seconds": self._seconds()}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Takes up the rows and counts of a checkpoint."""
        self.metrics = list(state_dict["rows"])
        self._graphs, self._before = state_dict["graphs"], state_dict["seconds"]

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Says if kernels are missing; goes on with an epoch that was interrupted: for Lightning it has started."""
        if self._verbose and not compiled():
            tqdm.write(f"kernels: {describe_kernels()}")
        if trainer.fit_loop.restarted_mid_epoch:
            self._start(trainer, trainer.fit_loop.epoch_loop.batch_progress.current.ready)

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Starts the clock and the bar."""
        self._graphs, self._before = 0, 0.0
        self._start(trainer, 0)

    def _start(self, trainer: pl.Trainer, done: int) -> None:
        self._started = time.perf_counter()
        name = f"epoch {trainer.current_epoch + 1}/{trainer.max_epochs}"
        steps = int(trainer.num_training_batches)
        self._bar = tqdm(desc=name, total=steps, initial=done, leave=False, mininterval=0.5, disable=not self._verbose)

    def _seconds(self) -> float:
        return self._before + time.perf_counter() - self._started

    def on_train_batch_end(
        self,
        trainer: pl.Trainer,
        pl_module: pl.LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
    ) -> None:
        """Counts graphs and moves the bar."""
        assert isinstance(pl_module, ClassifierTraining)
        self._graphs += self._batches.size_of(batch_idx)
        self._trained = time.perf_counter()
        if self._verbose and batch_idx % REFRESH == 0:
            self._bar.set_postfix(loss=f"{pl_module.running_loss:.4f}")
        self._bar.update()

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Sums up; validation is over by now."""
        assert isinstance(pl_module, ClassifierTraining)
        self._bar.close()
        metrics = {"epoch": trainer.current_epoch + 1} | pl_module.epoch_metrics()
        # Of Muon, if it is used, and of AdamW.
        rates = {group["orthogonal"]: group["lr"] for group in trainer.optimizers[0].param_groups}
        metrics["learning_rate"] = rates[False]
        if True in rates:
            metrics["kernel_learning_rate"] = rates[True]
        metrics["graphs_per_second"] = self._graphs / (self._before + self._trained - self._started)
        metrics["seconds"] = self._seconds()
        self.metrics.append(metrics)
        for logger in trainer.loggers:
            logger.log_metrics(metrics, step=trainer.current_epoch + 1)
            logger.save()
        if self._path is not None:
            _write(self._path, self.metrics)
        if self._verbose:
            accuracy = f"val accuracy {100 * metrics['val_accuracy']:.2f} %  " if "val_accuracy" in metrics else ""
            print(
                f"epoch {metrics['epoch']:>3.0f}/{trainer.max_epochs}  train loss {metrics['train_loss']:.4f}  "
                f"{accuracy}lr {metrics['learning_rate']:.1e}  "
                f"{metrics['graphs_per_second']:,.0f} graphs/s  {metrics['seconds']:.1f} s",
                flush=True,
            )

    def on_exception(self, trainer: pl.Trainer, pl_module: pl.LightningModule, exception: BaseException) -> None:
        """Takes the bar away, so that the error stands on a line of its own."""
        if self._bar is not None:
            self._bar.close()


def _write(path: Path, rows: list[EpochMetrics]) -> None:
    """Writes all rows anew."""
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, fieldnames=list(dict.fromkeys(name for row in rows for name in row)))
    writer.writeheader()
    writer.writerows(rows)
    replace_file(path, text.getvalue().encode())
