"""ProgressReport: the progress bar, printed lines and metrics file of a training."""

import csv
import io
from pathlib import Path
from typing import Any, Self

from torch import Tensor

from grapheme_pyg.atomic import replace_file
from grapheme_pyg.ops import compiled, describe_kernels
from grapheme_pyg.progress_bar import Bar

EpochMetrics = dict[str, float]
# Steps between two readings of the loss, each of which waits for the device.
REFRESH = 20


class ProgressReport:
    """Shows a bar and a line for each epoch, and writes the metrics of all epochs as CSV.

    Args:
        table: The CSV file, or None.
        epochs: Number of epochs.
        num_batches: Number of mini-batches in an epoch.
        verbose: Whether to show a progress bar (on stderr, if it is a terminal) and print a line for each epoch (on
            stdout).
    """

    def __init__(self, table: Path | None, epochs: int, num_batches: int, *, verbose: bool) -> None:
        self._table, self._epochs, self._num_batches, self._verbose = table, epochs, num_batches, verbose
        self._bar: Any = None
        if verbose and not compiled():
            Bar.write(f"kernels: {describe_kernels()}")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def start_epoch(self, epoch: int, done: int) -> None:
        """Shows the bar of an epoch, counted from 0, with ``done`` finished mini-batches."""
        self._bar = Bar(
            desc=f"epoch {epoch + 1}/{self._epochs}",
            total=self._num_batches,
            initial=done,
            leave=False,
            mininterval=0.5,
            disable=None if self._verbose else True,  # None: unless stderr is a terminal
        )

    def batch(self, number: int, losses: Tensor) -> None:
        """Moves the bar after a mini-batch, whose losses are ``[batch_size]``."""
        if self._verbose and number % REFRESH == 1 and losses.numel() > 0:
            self._bar.set_postfix(loss=f"{float(losses.mean()):.4f}")
        self._bar.update()

    def close(self) -> None:
        """Removes the bar, so that later output starts on its own line."""
        if self._bar is not None:
            self._bar.close()

    def end_epoch(self, metrics: list[EpochMetrics]) -> None:
        """Prints the metrics of the last epoch and writes those of all epochs."""
        if self._table is not None:
            text = io.StringIO(newline="")
            writer = csv.DictWriter(text, fieldnames=list(dict.fromkeys(name for row in metrics for name in row)))
            writer.writeheader()
            writer.writerows(metrics)
            replace_file(self._table, text.getvalue().encode())
        if self._verbose:
            last = metrics[-1]
            accuracy = f"val accuracy {100 * last['val_accuracy']:.2f} %  " if "val_accuracy" in last else ""
            print(
                f"epoch {last['epoch']:>3.0f}/{self._epochs}  train loss {last['train_loss']:.4f}  "
                f"{accuracy}lr {last['learning_rate']:.1e}  "
                f"{last['graphs_per_second']:,.0f} graphs/s  {last['seconds']:.1f} s",
                flush=True,
            )
