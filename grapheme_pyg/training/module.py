"""What training does with a batch, for PyTorch Lightning."""

from dataclasses import asdict
from typing import Any

import pytorch_lightning as pl
import torch
import torch.nn.functional as F
from pytorch_lightning.utilities.types import OptimizerLRSchedulerConfig
from torch import Tensor
from torch_geometric.data import Batch

from grapheme_pyg.model import ImageClassificationModel
from grapheme_pyg.training.settings import TrainingSettings

EpochMetrics = dict[str, float]


class ClassifierTraining(pl.LightningModule):
    """What training does with a batch: of images, whose graphs it makes, or of graphs.

    Args:
        model: The model to train, in place.
        settings: How.
    """

    def __init__(self, model: ImageClassificationModel, settings: TrainingSettings) -> None:
        super().__init__()
        self.model, self.settings = model, settings
        self.save_hyperparameters({"settings": asdict(settings), "model": model.config, "vision": model.vision.config})
        self._train_loss = _Mean()
        self._val_loss, self._val_accuracy = _Mean(), _Mean()

    def on_before_batch_transfer(self, batch: Any, dataloader_idx: int) -> Batch:
        """Graphs are made on the CPU, before anything moves to a device."""
        return batch if isinstance(batch, Batch) else self.model.vision.batch(*batch)

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """The loss, in which every sample weighs the same, in a smaller last batch too."""
        smoothing = self.settings.label_smoothing
        losses = F.cross_entropy(self.model(batch), batch.y, label_smoothing=smoothing, reduction="sum")
        self._train_loss.add(losses.detach(), batch.num_graphs)
        return losses / self.settings.batch_size

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        """Adds up loss and hits."""
        logits = self.model(batch)
        self._val_loss.add(F.cross_entropy(logits, batch.y, reduction="sum"), batch.num_graphs)
        self._val_accuracy.add((logits.argmax(dim=-1) == batch.y).sum(), batch.num_graphs)

    def epoch_metrics(self) -> EpochMetrics:
        """Means since the last call."""
        metrics = {"train_loss": self._train_loss.pop()}
        if self._val_loss.count > 0:
            metrics |= {"val_loss": self._val_loss.pop(), "val_accuracy": self._val_accuracy.pop()}
        return metrics

    @property
    def running_loss(self) -> float:
        """Mean training loss of the epoch so far."""
        return self._train_loss.value()

    def configure_optimizers(self) -> OptimizerLRSchedulerConfig:
        """AdamW with decay on matrices only, and one cycle of the learning rate over the whole training."""
        parameters = [p for p in self.model.parameters() if p.requires_grad]
        groups = [
            {"params": [p for p in parameters if p.dim() >= 2], "weight_decay": self.settings.weight_decay},
            {"params": [p for p in parameters if p.dim() < 2], "weight_decay": 0.0},
        ]
        optimizer = torch.optim.AdamW([group for group in groups if group["params"]], lr=self.settings.lr)
        total_steps = int(self.trainer.estimated_stepping_batches)
        # A schedule of one or two steps has no rise and fall.
        schedule = torch.optim.lr_scheduler.OneCycleLR(
            optimizer, self.settings.lr, total_steps=max(total_steps, 3), pct_start=0.2
        )
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}


class _Mean:
    """A running mean that asks the device for its value only when somebody reads it."""

    def __init__(self) -> None:
        self.total: Tensor | float = 0.0
        self.count = 0

    def add(self, total: Tensor, count: int) -> None:
        self.total, self.count = self.total + total.double(), self.count + count

    def value(self) -> float:
        return float(self.total) / max(self.count, 1)

    def pop(self) -> float:
        value = self.value()
        self.total, self.count = 0.0, 0
        return value
