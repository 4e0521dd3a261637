"""Training on images and labels."""

import logging
import os
import signal
import warnings
import zlib
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, replace
from math import ceil
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import Callback
from pytorch_lightning.loggers import Logger, TensorBoardLogger
from torch import Tensor

from grapheme_pyg.augmentation import RandomWarp
from grapheme_pyg.checks import as_path
from grapheme_pyg.datasets.image_files import ImageFiles
from grapheme_pyg.datasets.labelled_images import LabelledImages, labelled_images
from grapheme_pyg.datasets.samplers import EpochBatches, EpochSampler
from grapheme_pyg.model import ImageClassificationModel
from grapheme_pyg.model_config import is_name
from grapheme_pyg.on_images import NODES_AT_ONCE
from grapheme_pyg.training.averaging import MovingAverage
from grapheme_pyg.training.checkpoints import FOLDER, LAST, DurableCheckpoints, check_same_run, newest_checkpoint
from grapheme_pyg.training.interrupts import Interrupted, Interrupts
from grapheme_pyg.training.joint import JointBatches, jointly
from grapheme_pyg.training.loading import make_loader
from grapheme_pyg.training.module import ClassifierTraining, EpochMetrics
from grapheme_pyg.training.processes import Processes, check_same, from_writer, met
from grapheme_pyg.training.reporting import EpochReport
from grapheme_pyg.training.saving import Saving
from grapheme_pyg.training.settings import TrainingSettings
from grapheme_pyg.training.watching import ClassCounts, warn_of_lost_classes
from grapheme_pyg.vision import VisionBrain
from grapheme_pyg.vision.image_batches import PIXELS_AT_ONCE, in_batches, warn_if_blank

if TYPE_CHECKING:
    from grapheme_pyg.vision.pixels import Images

METRICS = "metrics.csv"
# Without gradients there is room for more graphs at once.
VALIDATION_BATCH = 256
# Images whose graphs are made before training, to see whether they are as they should be.
LOOKED_AT = 32


def fit(
    model: ImageClassificationModel,
    images: "Images",
    labels: Any,
    *,
    validation: "tuple[Images, Any] | None" = None,
    settings: TrainingSettings | None = None,
    run_dir: str | Path | None = None,
    resume: bool = False,
    tensorboard: bool = False,
    verbose: bool = True,
) -> list[EpochMetrics]:
    """Trains a model, in place. What it remembers of images would no longer be true, and is forgotten.

    Processes that ``torchrun`` has started train it together, on one machine or several: each calls this with the same
    arguments and gets the same weights, which are those that one process would get, up to rounding. The first writes
    all files; see :class:`grapheme_pyg.training.processes.Processes`.

    Before the first epoch the graphs of some images are made: :class:`grapheme_pyg.errors.ImageWarning` says if nearly
    all have a single node, as of blank images. Large images make mini-batches that are trained on in parts, of at most
    2²⁰ pixels and nodes, whose gradients are added up; batch statistics are then those of a part.

    At the end :class:`grapheme_pyg.errors.TrainingWarning` names classes of which the last validation recognised no
    image, and different classes of which a template has become the same: cosine above 1 − 10⁻⁶.

    Args:
        model: The model; left in evaluation mode and in the precision in which it came.
        images: As :meth:`grapheme_pyg.VisionBrain.batch` takes them; a sequence may read them when they are asked for,
            as :class:`grapheme_pyg.datasets.ImageFiles` does.
        labels: ``[N]``, integers in [0, num_classes) or names of classes, as :func:`grapheme_pyg.labels.to_labels`
            takes them.
        validation: Images and labels for the accuracy after each epoch.
        settings: How to train; the defaults if None.
        run_dir: Where to write ``metrics.csv`` after each epoch, and ``checkpoints/last.ckpt`` and ``previous.ckpt``
            after each epoch and within it; nothing if None.
        resume: Whether to continue the run in ``run_dir``, which must have the same model, settings and data. The
            result is bit-identical to that of an uninterrupted run. Without a checkpoint, training starts from the
            beginning.
        tensorboard: Whether to write TensorBoard logs into ``run_dir`` too (extra ``[tensorboard]``).
        verbose: Whether to show a progress bar and a line for each epoch.

    Returns:
        For each epoch: ``epoch``, ``train_loss``, ``val_loss`` and ``val_accuracy`` (with ``validation``),
        ``learning_rate`` (of AdamW), ``kernel_learning_rate`` (of Muon, if used), ``graphs_per_second`` and
        ``seconds``; for a resumed run with the same ``run_dir``, from its first epoch.

    Raises:
        ValueError: A setting, an image or a label is out of range, ``run_dir`` holds a run that is not resumed, or the
            model has classes that were added from examples.
        CheckpointError: No checkpoint of the run can be read, it is of another run, or one cannot be written.
        TrainingError: The loss, its gradient or a weight is not finite; the last checkpoint is from before. Or, of
            several processes, another one is gone or about to do something else.
        KeyboardInterrupt: SIGINT came; the step was finished and saved.
        SystemExit: SIGTERM came; the same, with exit code 143.
    """
    if (dtype := model.classifier.templates.dtype) not in (torch.float32, torch.float64):
        expected = 'weights in float32 or float64 (TrainingSettings(precision="bf16-mixed") trains in half precision)'
        raise ValueError(f"model: expected {expected}, got {dtype}")
    settings = TrainingSettings() if settings is None else settings
    if not isinstance(settings, TrainingSettings):
        raise ValueError(f"settings: expected TrainingSettings, got {settings!r}")
    if validation is not None and (not isinstance(validation, tuple | list) or len(validation) != 2):
        raise ValueError(f"validation: expected images and labels, got {type(validation).__name__}")
    if unsaved := [name for name in model.classes if not is_name(name)]:
        raise ValueError(f"classes: expected names without control characters, got {unsaved[0]!r}")
    if added := model.classifier.added_classes:
        raise ValueError(f"model: expected no classes added from examples, got {added}; call forget first")
    augment = RandomWarp(flip=settings.flip) if settings.augment else None
    if settings.loss == "structural" and len(model.classes) < 2:
        raise ValueError(f"loss: expected at least two classes for 'structural', got {model.classes}")
    if "classifier" in settings.freeze and not bool(model.classifier.templates.any()):
        raise ValueError("freeze: expected a classifier with templates, got one whose templates are unset")
    kinds: dict[str, Any] = {"classes": model.classes, "vision": model.vision}
    training = labelled_images(images, labels, augment=augment, seed=settings.seed, **kinds)
    held_out = None if validation is None else labelled_images(*validation, name="validation", **kinds)
    processes = Processes.of_environment()
    at_once = _look_at(training, model.vision)
    settings = _in_parts(settings.for_images(len(training)), at_once, verbose=verbose and processes.writes)
    assert settings.batch_size is not None, "for_images: expected to have set it"
    validated_at_once = max(settings.batch_size, VALIDATION_BATCH)
    if held_out is not None:
        validated_at_once = min(validated_at_once, _look_at(held_out, model.vision))
    folder = None if run_dir is None else as_path("run_dir", run_dir)
    for name, wanted in (("tensorboard", tensorboard), ("resume", resume)):
        if wanted and folder is None:
            raise ValueError(f"run_dir: expected a folder for {name}, got none")
    if folder is not None and not resume:
        for path in (folder / METRICS, folder / FOLDER / LAST):
            if path.exists():
                raise ValueError(f"run_dir: expected a folder without a run, or resume; {path} is there already")
    described = {
        "settings": asdict(settings),
        "model": model.config,
        "vision": model.vision.config,
        "data": _describe_data(training),
    }
    cuda = settings.device != "cpu" and torch.cuda.is_available()
    with met(processes, cuda=cuda, patience=settings.patience), ExitStack() as stack:
        check_same(processes, described | {"run": {"saved": folder is not None, "validation": len(held_out or ())}})
        found = newest_checkpoint(folder) if resume and folder is not None and processes.writes else None
        found = from_writer(processes, found)
        if found is not None:
            check_same_run(*found, described)
        model.forget()
        if settings.precision == "64-true":
            model.double()  # Lightning would do it after the average has been set up
        model.train()  # Lightning leaves modes as they are
        share = {"rank": processes.rank, "world_size": processes.world_size}
        batches = EpochBatches(EpochSampler(training, settings.seed), settings.batch_size, **share)
        if found is not None:
            # Lightning starts the workers of a resumed epoch before it says which epoch that is.
            batches.go_on(*_position(found[1]))
        in_order = EpochBatches(range(len(held_out or ())), validated_at_once, **share)
        interrupts = Interrupts()
        table = folder / METRICS if folder is not None and processes.writes else None
        report = EpochReport(table, batches, verbose=verbose and processes.writes)
        counts = ClassCounts(model.classifier.num_classes)
        callbacks: list[Callback] = [report, counts]
        if settings.averaging > 0:
            callbacks.append(MovingAverage(settings.averaging))
        if processes.several:
            callbacks.append(stack.enter_context(jointly(model)))
        callbacks.append(Saving(folder, every=settings.checkpoint_every, interrupts=interrupts))
        loggers: list[Logger] = []
        if folder is not None and tensorboard:
            loggers.append(TensorBoardLogger(folder, name="tensorboard", version=""))
        stack.enter_context(_quiet_lightning())
        trainer = pl.Trainer(
            accelerator={"auto": "auto", "cpu": "cpu", "cuda": "gpu"}[settings.device],
            strategy=JointBatches(processes) if processes.several else "auto",
            devices=processes.local_world_size,
            num_nodes=processes.world_size // processes.local_world_size,
            use_distributed_sampler=False,
            max_epochs=settings.epochs,
            precision=settings.precision,
            accumulate_grad_batches=settings.accumulate,
            gradient_clip_val=settings.clip or None,
            callbacks=callbacks,
            plugins=[DurableCheckpoints(found)],
            logger=loggers or False,
            enable_checkpointing=False,
            enable_model_summary=False,
            enable_progress_bar=False,
            num_sanity_val_steps=0,
            default_root_dir=run_dir,
        )
        stack.enter_context(_frozen(model, settings.freeze))
        stack.enter_context(torch.random.fork_rng())
        try:
            trainer.fit(
                ClassifierTraining(model, settings, described),
                make_loader(training, batches, model.vision, settings),
                None if held_out is None else make_loader(held_out, in_order, model.vision, settings),
                ckpt_path=None if found is None else found[0],
                weights_only=True,
            )
        except Interrupted:
            if interrupts.came is signal.SIGINT:
                raise KeyboardInterrupt from None
            raise SystemExit(128 + signal.SIGTERM) from None
    model.to(dtype).eval()  # Lightning leaves float64 after training in it
    if trainer.is_global_zero:
        warn_of_lost_classes(counts, model.classifier.templates, model.classes, stacklevel=2)
    return report.metrics


def _look_at(dataset: LabelledImages, vision: VisionBrain) -> int:
    """How many images of a set may be computed with at a time, by the graphs of some of them.

    Warns if nearly all of these graphs have a single node.
    """
    some = torch.linspace(0, len(dataset) - 1, min(len(dataset), LOOKED_AT)).long().unique().tolist()
    skip = getattr(dataset.images, "on_error", "raise") == "skip"
    pixels, nodes = 1, []
    for _, images in in_batches(
        dataset.images,
        vision.in_channels,
        LOOKED_AT,
        count=len(dataset),
        size=vision.resize,
        white=vision.white,
        skip=skip,
        some=some,
    ):
        pixels = max(pixels, *(image[0].numel() for image in images))
        nodes += vision.batch(list(images)).ptr.diff().tolist()
    warn_if_blank(torch.tensor(nodes), stacklevel=3)
    return max(1, min(PIXELS_AT_ONCE // pixels, NODES_AT_ONCE // max(nodes, default=1)))


def _in_parts(settings: TrainingSettings, at_once: int, *, verbose: bool) -> TrainingSettings:
    """Settings whose mini-batches come in as many parts as it takes for a part to have ``at_once`` images at most."""
    assert settings.batch_size is not None, "for_images: expected to have set it"
    parts = ceil(settings.batch_size / at_once)
    if parts == 1:
        return settings
    size = ceil(settings.batch_size / parts)
    if verbose:
        print(f"images are large: {size} are trained on at a time, and each step adds up {parts} times as many")
    return replace(settings, batch_size=size, accumulate=settings.accumulate * parts)


def _describe_data(training: LabelledImages) -> dict[str, Any]:
    described = {"images": len(training), "labels_crc32": zlib.crc32(training.labels.numpy().data)}
    if isinstance(training.images, Tensor):  # others may be files, and would all have to be read
        described["pixels_crc32"] = zlib.crc32(training.images.contiguous().numpy().data)
    if isinstance(training.images, ImageFiles):
        names = "\n".join(f"{path.parent.name}/{path.name}" for path in training.images.paths)
        described["names_crc32"] = zlib.crc32(os.fsencode(names))
    return described


def _position(checkpoint: dict[str, Any]) -> tuple[int, int]:
    """The epoch that a checkpoint is in, counted from 0, and how many of its batches are done."""
    epochs = checkpoint["loops"]["fit_loop"]["epoch_progress"]["current"]
    if epochs["processed"] == epochs["started"]:
        return epochs["processed"], 0
    return epochs["processed"], checkpoint["loops"]["fit_loop"]["epoch_loop.batch_progress"]["current"]["processed"]


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
