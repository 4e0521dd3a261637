"""What training does with a batch, for PyTorch Lightning."""

from dataclasses import asdict
from typing import Any

import pytorch_lightning as pl
import torch
import torch.nn.functional as F
from pytorch_lightning.utilities.types import OptimizerLRSchedulerConfig
from torch import Tensor
from torch.optim import Optimizer
from torch_geometric.data import Batch

from grapheme_pyg.model import ImageClassificationModel
from grapheme_pyg.nn.graph_checks import check_labels
from grapheme_pyg.nn.plan import Plan
from grapheme_pyg.training.finite import FiniteSteps
from grapheme_pyg.training.loading import graphs_of_share
from grapheme_pyg.training.losses import structural_losses
from grapheme_pyg.training.muon import MuonAdamW
from grapheme_pyg.training.settings import TrainingSettings

EpochMetrics = dict[str, float]


class ClassifierTraining(pl.LightningModule):
    """What training does with a batch: of images, whose graphs it makes, or of graphs.

    Args:
        model: The model to train, in place.
        settings: How.
        described: What the run is, in plain values: checkpoints hold it.
    """

    def __init__(
        self, model: ImageClassificationModel, settings: TrainingSettings, described: dict[str, Any] | None = None
    ) -> None:
        super().__init__()
        self.model, self.settings = model, settings
        self.save_hyperparameters(described or {"settings": asdict(settings)})
        self._train_loss = _Mean()
        self._val_loss, self._val_accuracy = _Mean(), _Mean()
        # Embeddings since the last step of the optimiser, which templates that learn by momentum move towards.
        self._embeddings: list[Tensor] = []
        self._labels: list[Tensor] = []
        self._positions: list[Tensor] = []
        self._finite = FiniteSteps(model, settings)

    def on_before_batch_transfer(self, batch: Any, dataloader_idx: int) -> tuple[Batch, Plan]:
        """Graphs are made, and planned, where they lie: nothing that is wrong moves to another device."""
        if isinstance(batch, Batch):
            plan = self.model.check(batch)
        else:
            batch = graphs_of_share(self.model.vision, *batch)
            plan = self.model.plan(batch)
        check_labels(batch.get("y"), batch.num_graphs, self.model.classifier.num_classes)
        return batch, plan

    def on_train_batch_start(self, batch: Any, batch_idx: int) -> None:
        """Makes what is random in a step depend on the numbers of step and process, so that a resumed run does it."""
        number = self.current_epoch * int(self.trainer.num_training_batches) + batch_idx
        number = number * self.trainer.world_size + self.global_rank
        seed = ((self.settings.seed << 31) + number) % (1 << 63)
        # What torch.manual_seed does, without looking for devices that are not there: that takes half a millisecond.
        torch.default_generator.manual_seed(seed)
        if torch.cuda.is_available():
            torch.cuda.manual_seed_all(seed)
        self._finite.on_batch_start(batch_idx)

    def training_step(self, planned: tuple[Batch, Plan], batch_idx: int) -> Tensor:
        """The loss, in which every sample weighs the same, in a smaller last batch too."""
        batch, plan = planned
        classifier, batch_size = self.model.classifier, self.settings.batch_size
        assert batch_size is not None, "settings: expected those for a number of images"
        pooled = self.model.pool(batch, plan)
        if classifier.template_update == "momentum" and "classifier" not in self.settings.freeze:
            with torch.no_grad():
                self._embeddings.append(classifier.project(pooled))
            self._labels.append(batch.y)
            if (several := self.trainer.world_size) > 1:
                # Process r has the samples r, r + world_size, … of each batch.
                first = batch_idx % self.settings.accumulate * batch_size + self.global_rank
                self._positions.append(first + several * torch.arange(batch.num_graphs, device=self.device))
        losses = self._losses(classifier.similarities(pooled), batch.y)
        self._finite.add(losses.detach())
        # Processes take the mean of their gradients, of which the sum is wanted.
        return losses.sum() * self.trainer.world_size / batch_size

    def configure_gradient_clipping(self, optimizer: Optimizer, *args: Any, **kwargs: Any) -> None:
        """Looks whether the step is finite, and clips its gradient."""
        losses = self._finite.check(optimizer, self.trainer)
        if losses is None:
            self._forget_embeddings()
        else:
            self._train_loss.add(losses.sum(), losses.numel())

    def optimizer_step(self, *args: Any, **kwargs: Any) -> None:
        """Templates that learn by momentum move once for each step of the optimiser."""
        super().optimizer_step(*args, **kwargs)
        if self._embeddings:
            parts = (self._embeddings, self._labels, self._positions)
            self.model.classifier.update_templates(*(torch.cat(part) for part in parts if part))
            self._forget_embeddings()

    def _forget_embeddings(self) -> None:
        for part in (self._embeddings, self._labels, self._positions):
            part.clear()

    def validation_step(self, planned: tuple[Batch, Plan], batch_idx: int) -> Tensor:
        """Adds up loss and hits; the predicted classes, ``[batch_size]``."""
        batch, plan = planned
        similarities = self.model.classifier.similarities(self.model.pool(batch, plan))
        predicted = similarities.argmax(dim=-1)
        self._val_loss.add(self._losses(similarities, batch.y).sum(), batch.num_graphs)
        self._val_accuracy.add((predicted == batch.y).sum(), batch.num_graphs)
        return predicted

    def _losses(self, similarities: Tensor, labels: Tensor) -> Tensor:
        """The loss of each sample, ``[batch_size]``."""
        if self.settings.loss == "structural":
            return structural_losses(similarities, labels)
        logits = self.model.classifier.log_temperature.exp() * similarities
        smoothing = self.settings.label_smoothing if self.training else 0.0
        return F.cross_entropy(logits, labels, label_smoothing=smoothing, reduction="none")

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Adds the loss of the epoch so far, of all processes."""
        total, count = self._of_all(self._train_loss)
        checkpoint["train_loss"] = (total, int(count))

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Takes up the loss of the epoch so far; one process for all."""
        if self.global_rank == 0:
            self._train_loss.total, self._train_loss.count = checkpoint["train_loss"]

    def epoch_metrics(self) -> EpochMetrics:
        """Means over the samples of all processes since the last call."""
        named = {"train_loss": self._train_loss, "val_loss": self._val_loss, "val_accuracy": self._val_accuracy}
        sums = self._of_all(*named.values())
        for mean in named.values():
            mean.clear()
        values = zip(named, sums[::2], sums[1::2], strict=True)
        return {name: total / max(count, 1) for name, total, count in values if count > 0 or name == "train_loss"}

    def _of_all(self, *means: "_Mean") -> list[float]:
        """The total and the count of each mean, of all processes."""
        values = [value for mean in means for value in (float(mean.total), float(mean.count))]
        if self.trainer.world_size > 1:
            joint = torch.tensor(values, dtype=torch.float64)
            torch.distributed.all_reduce(joint)
            values = joint.tolist()
        return values

    @property
    def running_loss(self) -> float:
        """Mean training loss of the epoch so far, of this process."""
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

    def clear(self) -> None:
        self.total, self.count = 0.0, 0
