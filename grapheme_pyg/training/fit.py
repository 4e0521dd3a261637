"""Training on images and labels."""

import logging
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import Callback, ModelCheckpoint
from pytorch_lightning.loggers import Logger, TensorBoardLogger
from torch import Tensor
from torch.utils.data import BatchSampler, DataLoader
from torch_geometric.loader import DataLoader as GraphDataLoader

from grapheme_pyg.augmentation import RandomWarp
from grapheme_pyg.datasets.image_data import Split
from grapheme_pyg.datasets.image_graphs import (
    EpochSampler,
    ImageDataset,
    ImageGraphDataset,
    ImageSequenceDataset,
    labelled_images,
)
from grapheme_pyg.model import ImageClassificationModel
from grapheme_pyg.training.averaging import MovingAverage
from grapheme_pyg.training.module import ClassifierTraining, EpochMetrics
from grapheme_pyg.training.reporting import EpochReport
from grapheme_pyg.training.settings import TrainingSettings

METRICS = "metrics.csv"


def fit(
    model: ImageClassificationModel,
    images: Tensor | Sequence[Tensor],
    labels: Tensor,
    *,
    validation: Split | tuple[Tensor | Sequence[Tensor], Tensor] | None = None,
    settings: TrainingSettings | None = None,
    run_dir: str | Path | None = None,
    resume: str | Path | None = None,
    tensorboard: bool = False,
    verbose: bool = True,
) -> list[EpochMetrics]:
    """Trains a model, in place. What it remembers of images would no longer be true, and is forgotten.

    Args:
        model: The model; left in evaluation mode and in the precision in which it came.
        images: uint8 ``[N, H, W]`` or ``[N, C, H, W]``; or a sequence of images of any sizes, which may be files; see
            :class:`grapheme_pyg.datasets.ImageSequenceDataset`.
        labels: ``[N]`` int64, in [0, num_classes).
        validation: Images and labels for the accuracy after each epoch.
        settings: How to train; the defaults if None.
        run_dir: Where to write ``metrics.csv`` and ``checkpoints/last.ckpt`` after each epoch; nothing if None.
        resume: A checkpoint to go on from, of a run with the same model and settings.
        tensorboard: Whether to write TensorBoard logs into ``run_dir`` too (extra ``[tensorboard]``).
        verbose: Whether to show a progress bar and a line for each epoch.

    Returns:
        For each epoch: ``epoch``, ``train_loss``, ``val_loss`` and ``val_accuracy`` (with ``validation``),
        ``learning_rate`` (of AdamW), ``kernel_learning_rate`` (of Muon, if used), ``graphs_per_second`` and
        ``seconds``; for a resumed run with the same ``run_dir``, from its first epoch.

    Raises:
        ValueError: A setting, an image or a label is out of range, ``run_dir`` holds a run that is not resumed, or the
            model has classes that were added from examples.
    """
    settings = settings or TrainingSettings()
    if added := model.classifier.added_classes:
        raise ValueError(f"model: expected no classes added from examples, got {added}; call forget first")
    augment = RandomWarp(flip=settings.flip) if settings.augment else None
    if settings.loss == "structural" and len(model.classes) < 2:
        raise ValueError(f"loss: expected at least two classes for 'structural', got {model.classes}")
    if "classifier" in settings.freeze and not bool(model.classifier.templates.any()):
        raise ValueError("freeze: expected a classifier with templates, got one whose templates are unset")
    training = labelled_images(images, labels, augment=augment, seed=settings.seed)
    held_out = labelled_images(*validation) if validation else None
    for name, dataset in (("labels", training), ("validation", held_out or training)):
        low, high, num_classes = int(dataset.labels.min()), int(dataset.labels.max()), model.classifier.num_classes
        if low < 0 or high >= num_classes:
            raise ValueError(f"{name}: expected classes in [0, {num_classes}), got {low}…{high}")
    folder = None if run_dir is None else Path(run_dir)
    if tensorboard and folder is None:
        raise ValueError("tensorboard: expected a run_dir to write its logs to, got none")
    if folder is not None and resume is None and (folder / METRICS).exists():
        raise ValueError(f"run_dir: expected a folder without a run, or resume; {folder / METRICS} is there already")
    done = 0 if resume is None else int(torch.load(resume, weights_only=True, map_location="cpu")["epoch"]) + 1
    report = EpochReport(None if folder is None else folder / METRICS, done=done, verbose=verbose)
    callbacks: list[Callback] = [report]
    if settings.averaging > 0:
        callbacks.append(MovingAverage(settings.averaging))
    loggers: list[Logger] = []
    if folder is not None:
        folder.mkdir(parents=True, exist_ok=True)
        callbacks.append(
            ModelCheckpoint(folder / "checkpoints", "last", enable_version_counter=False, save_on_train_epoch_end=True)
        )
        if tensorboard:
            loggers.append(TensorBoardLogger(folder, name="tensorboard", version=""))
    with _quiet_lightning():
        trainer = pl.Trainer(
            accelerator={"auto": "auto", "cpu": "cpu", "cuda": "gpu"}[settings.device],
            devices=1,
            max_epochs=settings.epochs,
            precision=settings.precision,
            accumulate_grad_batches=settings.accumulate,
            gradient_clip_val=settings.clip or None,
            callbacks=callbacks,
            logger=loggers or False,
            enable_checkpointing=run_dir is not None,
            enable_model_summary=False,
            enable_progress_bar=False,
            num_sanity_val_steps=0,
            default_root_dir=run_dir,
        )
        loader = _loader(training, model, settings, shuffle=True)
        # Lightning starts the workers of a resumed epoch before it says which epoch that is.
        sampler: Any = loader.sampler
        sampler.set_epoch(done)
        dtype = model.classifier.templates.dtype
        model.forget()
        if settings.precision == "64-true":
            model.double()  # Lightning would do it after the average has been set up
        model.train()  # Lightning leaves modes as they are
        with _frozen(model, settings.freeze), torch.random.fork_rng():
            trainer.fit(
                ClassifierTraining(model, settings),
                loader,
                _loader(held_out, model, settings, shuffle=False) if held_out else None,
                ckpt_path=resume,
                weights_only=True,
            )
    model.to(dtype).eval()  # Lightning leaves float64 after training in it
    return report.metrics


def _loader(
    images: ImageDataset | ImageSequenceDataset,
    model: ImageClassificationModel,
    settings: TrainingSettings,
    *,
    shuffle: bool,
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
def _frozen(model: ImageClassificationModel, parts: Sequence[str]) -> Iterator[None]:
    """Parts without gradients, and without batch statistics that move."""
    parameters = [parameter for part in parts for parameter in model.get_submodule(part).parameters()]
    learning = [parameter for parameter in parameters if parameter.requires_grad]
    for part in parts:
        model.get_submodule(part).eval()
    for parameter in learning:
        parameter.requires_grad_(False)
    try:
        yield
    finally:
        for parameter in learning:
            parameter.requires_grad_(True)


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
