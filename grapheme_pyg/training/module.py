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
from grapheme_pyg.training.losses import structural_losses
from grapheme_pyg.training.muon import MuonAdamW
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
        # Embeddings since the last step of the optimiser, which templates that learn by momentum move towards.
        self._embeddings: list[Tensor] = []
        self._labels: list[Tensor] = []

    def on_before_batch_transfer(self, batch: Any, dataloader_idx: int) -> Batch:
        """Graphs are made on the CPU, before anything moves to a device."""
        return batch if isinstance(batch, Batch) else self.model.vision.batch(*batch)

    def on_train_batch_start(self, batch: Any, batch_idx: int) -> None:
        """Makes what is random in a step depend on its number alone, so that a resumed run does the same."""
        number = self.current_epoch * int(self.trainer.num_training_batches) + batch_idx
        seed = ((self.settings.seed << 31) + number) % (1 << 63)
        # What torch.manual_seed does, without looking for devices that are not there: that takes half a millisecond.
        torch.default_generator.manual_seed(seed)
        if torch.cuda.is_available():
            torch.cuda.manual_seed_all(seed)

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """The loss, in which every sample weighs the same, in a smaller last batch too."""
        classifier = self.model.classifier
        pooled = self.model.pool(batch)
        if classifier.template_update == "momentum" and "classifier" not in self.settings.freeze:
            with torch.no_grad():
                self._embeddings.append(classifier.project(pooled))
            self._labels.append(batch.y)
        losses = self._losses(classifier.similarities(pooled), batch.y).sum()
        self._train_loss.add(losses.detach(), batch.num_graphs)
        return losses / self.settings.batch_size

    def optimizer_step(self, *args: Any, **kwargs: Any) -> None:
        """Templates that learn by momentum move once for each step of the optimiser."""
        super().optimizer_step(*args, **kwargs)
        if self._embeddings:
            self.model.classifier.update_templates(torch.cat(self._embeddings), torch.cat(self._labels))
            self._embeddings.clear()
            self._labels.clear()

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        """Adds up loss and hits."""
        similarities = self.model.classifier.similarities(self.model.pool(batch))
        hits = similarities.argmax(dim=-1) == batch.y
        self._val_loss.add(self._losses(similarities, batch.y).sum(), batch.num_graphs)
        self._val_accuracy.add(hits.sum(), batch.num_graphs)

    def _losses(self, similarities: Tensor, labels: Tensor) -> Tensor:
        """The loss of each sample, ``[batch_size]``."""
        if self.settings.loss == "structural":
            return structural_losses(similarities, labels)
        logits = self.model.classifier.log_temperature.exp() * similarities
        smoothing = self.settings.label_smoothing if self.training else 0.0
        return F.cross_entropy(logits, labels, label_smoothing=smoothing, reduction="none")

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
        """Decay on matrices only, and one cycle of the learning rates over the whole training."""
        settings = self.settings
        parameters = [p for p in self.model.parameters() if p.requires_grad]
        kernels = [p for p in self.model.dag.parameters() if p.requires_grad and p.dim() >= 2]
        if settings.optimizer == "adamw":
            kernels = []
        apart = {id(p) for p in kernels}
        others = [
            {
                "params": [p for p in parameters if p.dim() >= 2 and id(p) not in apart],
                "weight_decay": settings.weight_decay,
            },
            {"params": [p for p in parameters if p.dim() < 2], "weight_decay": 0.0},
        ]
        optimizer = MuonAdamW(
            kernels, others, lr=settings.lr, kernel_lr=settings.kernel_lr, kernel_decay=settings.weight_decay
        )
        total_steps = int(self.trainer.estimated_stepping_batches)
        schedule = torch.optim.lr_scheduler.OneCycleLR(
            optimizer,
            [group["lr"] for group in optimizer.param_groups],
            # A schedule of so few steps has no rise and fall; of five, PyTorch's divides by zero.
            total_steps=max(total_steps, 6),
            pct_start=0.2,
            cycle_momentum=False,
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
