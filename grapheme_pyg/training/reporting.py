"""What a person sees of training: a bar, a line for each epoch, and logs of its metrics."""

import csv
import time
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
from pytorch_lightning.callbacks import Callback
from tqdm import tqdm

from grapheme_pyg.training.module import ClassifierTraining, EpochMetrics

# Steps between two looks at the loss: each one waits for the device.
REFRESH = 20


class EpochReport(Callback):
    """Keeps, logs and prints the metrics of each epoch.

    Args:
        path: Where to keep the metrics of all epochs as CSV, or None. Rows that are there already are kept, those
            of epochs that are trained again are not.
        done: How many epochs of a resumed run are done.
        verbose: Whether to show a progress bar (on stderr) and print a line for each epoch (on stdout).
    """

    def __init__(self, path: Path | None, *, done: int, verbose: bool) -> None:
        self.metrics: list[EpochMetrics] = []
        self._path = path
        if path is not None and path.exists():
            self.metrics = [row for row in _read(path) if row["epoch"] <= done]
        self._verbose, self._graphs = verbose, 0
        self._started = self._trained = 0.0
        self._bar: Any = None

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Starts the clock and the bar."""
        self._started, self._graphs = time.perf_counter(), 0
        name = f"epoch {trainer.current_epoch + 1}/{trainer.max_epochs}"
        steps = int(trainer.num_training_batches)
        self._bar = tqdm(desc=name, total=steps, leave=False, mininterval=0.5, disable=not self._verbose)

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
        self._graphs += batch.num_graphs
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
        metrics["graphs_per_second"] = self._graphs / (self._trained - self._started)
        metrics["seconds"] = time.perf_counter() - self._started
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


def _read(path: Path) -> list[EpochMetrics]:
    with path.open(newline="") as file:
        rows = [{name: float(value) for name, value in row.items() if value} for row in csv.DictReader(file)]
    return [row | {"epoch": int(row["epoch"])} for row in rows]


def _write(path: Path, rows: list[EpochMetrics]) -> None:
    """Writes all rows anew, under another name first: a crash leaves the old file."""
    partial = path.with_suffix(".partial")
    with partial.open("w", newline="") as file:
        writer = csv.DictWriter(file, fieldnames=list(dict.fromkeys(name for row in rows for name in row)))
        writer.writeheader()
        writer.writerows(rows)
    partial.replace(path)
