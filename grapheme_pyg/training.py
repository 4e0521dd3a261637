"""Training with PyTorch Lightning: the module, and ``fit`` for images and labels in memory."""

import logging
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
import torch.nn.functional as F
from pytorch_lightning.callbacks import Callback, ModelCheckpoint, TQDMProgressBar
from pytorch_lightning.loggers import CSVLogger, Logger, TensorBoardLogger
from pytorch_lightning.utilities.types import OptimizerLRSchedulerConfig
from torch import Tensor
from torch.utils.data import BatchSampler, DataLoader
from torch_geometric.data import Batch
from torch_geometric.loader import DataLoader as GraphDataLoader

from grapheme_pyg.augmentation import RandomAffine
from grapheme_pyg.datasets.image_data import Split
from grapheme_pyg.datasets.image_graphs import EpochSampler, ImageDataset, ImageGraphDataset
from grapheme_pyg.model import ImageClassificationModel

PRECISIONS = ("32-true", "bf16-mixed", "64-true")
LOADERS = ("images", "pyg")
EpochMetrics = dict[str, float]


@dataclass(frozen=True)
class TrainingSettings:
    """How to train; plain values, which a checkpoint stores.

    Attributes:
        epochs: Passes over the training images.
        batch_size: Images in a mini-batch.
        accumulate: Mini-batches whose gradients are added up for one optimiser step.
        lr: Peak of the one-cycle learning-rate schedule.
        weight_decay: Of AdamW, on weights of two or more dimensions: not on biases, norms, temperature.
        label_smoothing: Of the cross-entropy, in [0, 1).
        clip: Largest norm of the gradient; 0 for no limit.
        augment: Whether training images are rotated, scaled, sheared and shifted.
        precision: ``"32-true"``, ``"bf16-mixed"`` (autocast) or ``"64-true"``.
        device: ``"auto"``, ``"cpu"`` or ``"cuda"``.
        loader: ``"images"`` makes the graphs of a whole batch at once; ``"pyg"`` makes them one by one in PyG's
            ``DataLoader``, as a plain PyG project would. Both give the same losses.
        num_workers: Processes that load; 0 loads in this one.
        seed: Of order and augmentation.
    """

    epochs: int = 12
    batch_size: int = 128
    accumulate: int = 1
    lr: float = 8e-3
    weight_decay: float = 0.05
    label_smoothing: float = 0.0
    clip: float = 1.0
    augment: bool = True
    precision: str = "32-true"
    device: str = "auto"
    loader: str = "images"
    num_workers: int = 0
    seed: int = 0

    def __post_init__(self) -> None:
        positive = [name for name in ("epochs", "batch_size", "accumulate", "lr") if not getattr(self, name) > 0]
        if positive:
            raise ValueError(f"{positive[0]}: expected a positive number, got {getattr(self, positive[0])}")
        for name, choices in (
            ("precision", PRECISIONS),
            ("loader", LOADERS),
            ("device", ("auto", "cpu", "cuda")),
        ):
            if getattr(self, name) not in choices:
                raise ValueError(f"{name}: expected one of {choices}, got {getattr(self, name)!r}")


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

    def on_before_batch_transfer(self, batch: Any, dataloader_idx: int) -> Batch:  # noqa: ARG002
        """Graphs are made on the CPU, before anything moves to a device."""
        graphs = batch if isinstance(batch, Batch) else self.model.vision.batch(*batch)
        return graphs.apply(lambda value: value.to(self.dtype) if value.is_floating_point() else value)

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:  # noqa: ARG002
        """The loss, in which every sample weighs the same, in a smaller last batch too."""
        smoothing = self.settings.label_smoothing
        losses = F.cross_entropy(self.model(batch), batch.y, label_smoothing=smoothing, reduction="sum")
        self._train_loss.add(losses.detach(), batch.num_graphs)
        return losses / self.settings.batch_size

    def validation_step(self, batch: Batch, batch_idx: int) -> None:  # noqa: ARG002
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


class _EpochReport(Callback):
    """Keeps, logs and prints the metrics of each epoch."""

    def __init__(self, *, verbose: bool) -> None:
        self.metrics: list[EpochMetrics] = []
        self._verbose, self._started, self._training, self._graphs = verbose, 0.0, 0.0, 0

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:  # noqa: ARG002
        self._started, self._training, self._graphs = time.perf_counter(), 0.0, 0

    def on_train_batch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule, *args: Any) -> None:  # noqa: ARG002
        self._graphs += args[1].num_graphs
        self._training = time.perf_counter() - self._started

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        assert isinstance(pl_module, ClassifierTraining)
        metrics = {"epoch": trainer.current_epoch + 1} | pl_module.epoch_metrics()
        metrics["learning_rate"] = trainer.optimizers[0].param_groups[0]["lr"]
        metrics["graphs_per_second"] = self._graphs / self._training
        metrics["seconds"] = time.perf_counter() - self._started
        self.metrics.append(metrics)
        for logger in trainer.loggers:
            logger.log_metrics(metrics, step=trainer.current_epoch + 1)
            logger.save()
        if self._verbose:
            accuracy = f"val accuracy {100 * metrics['val_accuracy']:.2f} %  " if "val_accuracy" in metrics else ""
            # Through Lightning, so that the progress bar steps aside.
            pl_module.print(
                f"epoch {metrics['epoch']:>3.0f}/{trainer.max_epochs}  train loss {metrics['train_loss']:.4f}  "
                f"{accuracy}lr {metrics['learning_rate']:.1e}  "
                f"{metrics['graphs_per_second']:,.0f} graphs/s  {metrics['seconds']:.1f} s"
            )


class _ProgressBar(TQDMProgressBar):
    """Steps and loss of the epoch, gone when the epoch's line is printed."""

    def __init__(self) -> None:
        super().__init__(refresh_rate=20, leave=False)

    def get_metrics(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> dict[str, Any]:  # noqa: ARG002
        assert isinstance(pl_module, ClassifierTraining)
        return {"loss": f"{pl_module.running_loss:.4f}"}


def fit(
    model: ImageClassificationModel,
    images: Tensor,
    labels: Tensor,
    *,
    validation: Split | tuple[Tensor, Tensor] | None = None,
    settings: TrainingSettings | None = None,
    run_dir: str | Path | None = None,
    resume: str | Path | None = None,
    tensorboard: bool = False,
    verbose: bool = True,
) -> list[EpochMetrics]:
    """Trains a model, in place.

    Args:
        model: The model; left in evaluation mode.
        images: uint8 ``[N, H, W]`` or ``[N, C, H, W]``.
        labels: ``[N]`` int64, in [0, num_classes).
        validation: Images and labels for the accuracy after each epoch.
        settings: How to train; the defaults if None.
        run_dir: Where to write ``metrics.csv`` and ``checkpoints/last.ckpt`` after each epoch; nothing if None.
        resume: A checkpoint to go on from.
        tensorboard: Whether to write TensorBoard logs into ``run_dir`` too (extra ``[tensorboard]``).
        verbose: Whether to show a progress bar and a line for each epoch.

    Returns:
        For each epoch: ``epoch``, ``train_loss``, ``val_loss`` and ``val_accuracy`` (with ``validation``),
        ``learning_rate``, ``graphs_per_second`` and ``seconds``.

    Raises:
        ValueError: A setting, an image or a label is out of range.
    """
    settings = settings or TrainingSettings()
    num_classes = len(model.classes)
    for name, values in (("labels", labels), ("validation", validation[1] if validation else labels)):
        if values.numel() == 0 or int(values.min()) < 0 or int(values.max()) >= num_classes:
            came = f"{int(values.min())}…{int(values.max())}" if values.numel() else "none"
            raise ValueError(f"{name}: expected classes in [0, {num_classes}), got {came}")
    augment = RandomAffine() if settings.augment else None
    training = ImageDataset(images, labels, augment=augment, seed=settings.seed)
    report = _EpochReport(verbose=verbose)
    callbacks: list[Callback] = [report, *([_ProgressBar()] if verbose else [])]
    loggers: list[Logger] = []
    if run_dir is not None:
        folder = Path(run_dir)
        callbacks.append(
            ModelCheckpoint(folder / "checkpoints", "last", enable_version_counter=False, save_on_train_epoch_end=True)
        )
        loggers.append(CSVLogger(folder, name="", version=""))
        if tensorboard:
            loggers.append(TensorBoardLogger(folder, name="tensorboard", version=""))
    with _quiet_lightning():
        trainer = pl.Trainer(
            accelerator={"auto": "auto", "cpu": "cpu", "cuda": "gpu"}[settings.device],
            devices=1,
            max_epochs=settings.epochs,
            precision=settings.precision,  # type: ignore[arg-type]  # checked by the settings
            accumulate_grad_batches=settings.accumulate,
            gradient_clip_val=settings.clip or None,
            callbacks=callbacks,
            logger=loggers or False,
            enable_checkpointing=run_dir is not None,
            enable_model_summary=False,
            enable_progress_bar=verbose,
            num_sanity_val_steps=0,
            default_root_dir=run_dir,
        )
        trainer.fit(
            ClassifierTraining(model, settings),
            _loader(training, model, settings, shuffle=True),
            _loader(ImageDataset(*validation), model, settings, shuffle=False) if validation else None,
            ckpt_path=resume,
            weights_only=True,
        )
    model.eval()
    return report.metrics


def _loader(
    images: ImageDataset, model: ImageClassificationModel, settings: TrainingSettings, *, shuffle: bool
) -> DataLoader[Any]:
    batch_size = settings.batch_size if shuffle else max(settings.batch_size, 256)
    if settings.loader == "pyg":
        dataset = ImageGraphDataset(images, model.vision)
        sampler = EpochSampler(dataset, settings.seed) if shuffle else None
        loader: DataLoader[Any] = GraphDataLoader(
            dataset, batch_size, sampler=sampler, num_workers=settings.num_workers
        )
        return loader
    order = EpochSampler(images, settings.seed) if shuffle else range(len(images))
    # The data set indexes with whole batches: one indexing, one augmentation, one graph building for each.
    return DataLoader(
        images,
        batch_size=None,
        sampler=_EpochBatchSampler(order, batch_size, drop_last=False),
        num_workers=settings.num_workers,
    )


class _EpochBatchSampler(BatchSampler):
    """Passes the epoch on to the sampler inside."""

    def set_epoch(self, epoch: int) -> None:
        if isinstance(self.sampler, EpochSampler):
            self.sampler.set_epoch(epoch)


@contextmanager
def _quiet_lightning() -> Iterator[None]:
    """Lightning's advice is for those who call it; ours would be told about choices that are not theirs."""
    logger = logging.getLogger("pytorch_lightning")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", module="pytorch_lightning")
            yield
    finally:
        logger.setLevel(level)
