"""fit: trains a model on images and labels."""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, replace
from functools import partial
from math import ceil
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch_geometric.data import Batch

from grapheme_pyg.augmentation import RandomCutout, RandomDegradation, RandomDropping, RandomWarp
from grapheme_pyg.checks import as_path
from grapheme_pyg.datasets.labelled_images import Augmentation, ImageDataset, labelled_images
from grapheme_pyg.datasets.samplers import EpochBatches, EpochSampler
from grapheme_pyg.errors import CheckpointError
from grapheme_pyg.model import ImageClassificationModel
from grapheme_pyg.training.checkpoints import FOLDER, LAST, limits_of, newest_checkpoint
from grapheme_pyg.training.data import describe_data, in_parts, look_at, make_loader, some_graphs
from grapheme_pyg.training.loop import Log, OnEpochEnd, TrainingLoop
from grapheme_pyg.training.losses import BatchLosses, weights_of_classes
from grapheme_pyg.training.lost_classes import warn_of_lost_classes
from grapheme_pyg.training.processes import Processes
from grapheme_pyg.training.progress import EpochMetrics, ProgressReport
from grapheme_pyg.training.remembering import remember
from grapheme_pyg.training.run_lock import alone_in
from grapheme_pyg.training.settings import SuitedSettings, TrainingSettings
from grapheme_pyg.training.state import check_state, state_of, take_up
from grapheme_pyg.training.whitening import whitening_matrices

if TYPE_CHECKING:
    from grapheme_pyg.vision.pixels import Images

METRICS = "metrics.csv"
# Without gradients, more graphs fit into memory.
VALIDATION_BATCH = 256
# Robust training: the share of images that are warped further, and the steps a training needs for its full strength.
WIDE, ALL_STEPS = 0.075, 1000
# Images in colour are photographs of rigid things.
OF_PHOTOGRAPHS = RandomWarp(degrees=0, scale=0, shear=0, shift=0.1, bend=0)


def fit(
    model: ImageClassificationModel,
    images: "Images",
    labels: Any,
    *,
    validation: "tuple[Images, Any] | None" = None,
    settings: TrainingSettings | None = None,
    run_dir: str | Path | None = None,
    resume: bool = False,
    log: Log | None = None,
    on_epoch_end: OnEpochEnd | None = None,
    verbose: bool = True,
) -> list[EpochMetrics]:
    """Trains a model in place and gives it a memory of training images, which tells familiar images from others.

    The memory replaces the model's former one. It is calibrated on the validation images, if there are any, so that
    ``model.predict(images, reject=0.02)`` refuses images that are unlike anything known, and classes can be taught.

    Processes started by ``torchrun`` train the model together with PyTorch's ``DistributedDataParallel``: each calls
    this function with the same arguments, takes its share of every mini-batch, and ends with the same weights. Each
    process has the batch statistics of its share; running statistics are averaged after each step. The first process
    writes all files.

    Before the first epoch, the graphs of some images are examined: :class:`grapheme_pyg.errors.ImageWarning` is issued
    if nearly all of the images are blank. Mini-batches of large images are split into parts of at most 2²⁰ pixels and
    nodes, whose gradients are added up; batch statistics are then those of a part.

    After training, :class:`grapheme_pyg.errors.TrainingWarning` names classes none of whose images the last validation
    recognised, and pairs of classes with a template in common (a cosine above 1 − 10⁻⁶).

    Args:
        model: The model, which ends in evaluation mode, with the precision and on the device that it had before.
        images: Images in any form that :meth:`grapheme_pyg.VisionBrain.batch` accepts; a sequence may read them when
            they are indexed, as :class:`grapheme_pyg.datasets.ImageFiles` does.
        labels: ``[N]``, integers in [0, num_classes) or names of classes, in any form that
            :func:`grapheme_pyg.labels.to_labels` accepts.
        validation: Images and labels on which loss and accuracy are measured after each epoch.
        settings: How to train; the defaults if None.
        run_dir: The folder for ``metrics.csv``, written after each epoch, and for ``checkpoints/last.ckpt`` and
            ``previous.ckpt``, written after each epoch and within it. Nothing is written if None.
        resume: Whether to continue the run in ``run_dir``, which must have the same model, settings and data. It may
            have more epochs than it was started with, and follows their schedule from there on; otherwise the result is
            bit-identical to that of an uninterrupted run. Without a checkpoint, training starts from the beginning.
        log: A function that is called after each epoch with its metrics and number, such as ``wandb.log`` or
            ``mlflow.log_metrics``.
        on_epoch_end: A function that is called after each epoch with the model, as it would be if training ended there,
            and the metrics of all epochs; training ends if it returns True.
        verbose: Whether to show a progress bar in a terminal and print a line for each epoch.

    Returns:
        The metrics of each epoch: ``epoch``, ``train_loss``, ``val_loss`` and ``val_accuracy`` (with ``validation``),
        ``learning_rate`` (of AdamW), ``kernel_learning_rate`` (of Muon, if used), ``graphs_per_second`` and
        ``seconds``. A resumed run returns those of its earlier epochs, too.

    Raises:
        ValueError: A setting, an image or a label is out of range, ``run_dir`` holds a run and ``resume`` is False, or
            the model has taught classes.
        CheckpointError: No checkpoint of the run can be read, it belongs to another run, or one cannot be written.
        TrainingError: The loss, its gradient or a weight is not finite, or a loading process has ended; the last
            checkpoint is from before that. Or another process trains in ``run_dir``.
        KeyboardInterrupt: SIGINT was received; the current step was finished and saved.
        SystemExit: SIGTERM was received; likewise, with exit code 143.
    """
    settings = TrainingSettings() if settings is None else settings
    folder = None if run_dir is None else as_path("run_dir", run_dir)
    check_arguments(model, validation, settings, folder, resume=resume)
    processes = Processes.of_environment()
    kinds: dict[str, Any] = {"classes": model.classes, "vision": model.vision}
    training = labelled_images(images, labels, seed=settings.seed, **kinds)
    if isinstance(training, ImageDataset):
        kinds["vision"] = model.vision = model.vision.for_images_of(*training.images.shape[-2:])
    held_out = None if validation is None else labelled_images(*validation, name="validation", **kinds)
    at_once, home = look_at(training, model.vision)
    in_colour = model.vision.in_channels == 3
    suited = settings.for_images(len(training), in_colour=in_colour)
    suited = in_parts(suited, at_once, verbose=verbose and processes.writes)
    steps = suited.epochs * ceil(len(training) / (suited.batch_size * suited.accumulate))
    robust = suited.augment and model.vision.relative if suited.robust is None else suited.robust
    strength = min(1.0, steps / ALL_STEPS) if robust else 0.0
    augment, calm = (_augmentation(suited, some, in_colour=in_colour) for some in (strength, 0.0))
    training.augment_by(augment, later=calm, since=suited.robust_epochs)
    described = {
        "settings": asdict(suited),
        "model": model.config,
        "vision": model.vision.config,
        "data": describe_data(training),
    }
    share = {"rank": processes.rank, "world_size": processes.world_size}
    balanced = training.labels if suited.sampling == "balanced" else None
    batches = EpochBatches(EpochSampler(training, suited.seed, balanced), suited.batch_size, **share)
    loader = make_loader(training, batches, model.vision, suited)
    validation_loader = None
    if held_out is not None:
        at_once = min(max(suited.batch_size, VALIDATION_BATCH), look_at(held_out, model.vision)[0])
        in_order = EpochBatches(range(len(held_out)), at_once, **share)
        validation_loader = make_loader(held_out, in_order, model.vision, suited)

    dtype, origin = model.classifier.templates.dtype, model.classifier.templates.device
    cuda = suited.device == "cuda" or (suited.device == "auto" and torch.cuda.is_available())
    device = torch.device("cuda", processes.local_rank) if cuda else torch.device("cpu")
    processes.connect(cuda=cuda)
    class_weights = weights_of_classes(suited, training.labels, model.classes)
    table = folder / METRICS if folder is not None and processes.writes else None
    with ExitStack() as stack:
        if folder is not None and processes.writes:
            stack.enter_context(alone_in(folder))
            if not resume:
                check_unused(folder)
        before = model.classifier.memory, model.home
        model.forget()
        model.home = replace(home, mirrored=suited.augment and bool(suited.flip))
        stack.callback(lambda: model.to(origin, dtype).eval())
        model.to(device, torch.float64 if suited.precision == "64-true" else dtype)
        stack.enter_context(_frozen(model, suited.freeze))
        stack.enter_context(torch.random.fork_rng())
        show = verbose and processes.writes
        report = stack.enter_context(ProgressReport(table, suited.epochs, len(batches), verbose=show))
        loop = TrainingLoop(
            BatchLosses(model, suited, None if class_weights is None else class_weights.to(device)),
            suited,
            batches,
            loader,
            validation_loader,
            dropping=RandomDropping(share=RandomDropping.share * strength) if strength else None,
            processes=processes,
            run=described,
            folder=folder,
            report=report,
            log=log,
            on_epoch_end=on_epoch_end,
        )
        if in_colour and not model.vision.finder.single_neighbours:
            _whiten(loop, (graphs for _, graphs in some_graphs(training, model.vision)))
        if resume:
            found = None
            if folder is not None and processes.writes:
                limits = limits_of(state_of(loop, [0.0, 0.0]), suited.epochs)
                try:
                    found = newest_checkpoint(folder, partial(check_state, loop), limits)
                except CheckpointError:  # nothing was trained, so the model keeps what it had
                    model.classifier.memory, model.home = before
                    raise
            if (stored := processes.from_first(None if found is None else found[1])) is not None:
                take_up(loop, stored)
        loop.run()
    remember(model, training, held_out, verbose=show)
    if processes.writes:
        images_of_class, hits = loop.recognised
        warn_of_lost_classes(images_of_class, hits, model.classifier.templates, model.classes, stacklevel=2)
    return loop.metrics


def _augmentation(settings: SuitedSettings, strength: float, *, in_colour: bool) -> list[Augmentation]:
    """Returns the augmentations of training images, with robust training of a strength in [0, 1]."""
    augment: list[Augmentation] = []
    if settings.augment:
        moved = OF_PHOTOGRAPHS if in_colour else RandomWarp(wide=WIDE * strength)
        augment.append(replace(moved, flip=settings.flip))
        if in_colour:
            augment.append(RandomCutout())
    if strength > 0:
        augment.append(RandomDegradation(share=RandomDegradation.share * strength))
    return augment


def _whiten(loop: TrainingLoop, graphs: Iterable[Batch]) -> None:
    """Lets Muon whiten the features of nodes. Those of regions in colour differ much in scale and correlate."""
    dag = loop.model.dag
    learned = {kernel for group in loop.optimizer.param_groups if group["orthogonal"] for kernel in group["params"]}
    for name, whitening in whitening_matrices(dag, graphs).items():
        if dag.input_weight[name] in learned:
            loop.optimizer.whiten(dag.input_weight[name], whitening)


def check_arguments(
    model: ImageClassificationModel,
    validation: object,
    settings: TrainingSettings,
    folder: Path | None,
    *,
    resume: bool = False,
) -> None:
    """Refuses arguments with which no training can begin.

    Raises:
        ValueError: An argument of :func:`fit` is invalid.
    """
    if (dtype := model.classifier.templates.dtype) not in (torch.float32, torch.float64):
        expected = 'weights in float32 or float64 (TrainingSettings(precision="bf16-mixed") trains in half precision)'
        raise ValueError(f"model: expected {expected}, got {dtype}")
    if not isinstance(settings, TrainingSettings):
        raise ValueError(f"settings: expected TrainingSettings, got {settings!r}")
    if validation is not None and (not isinstance(validation, tuple | list) or len(validation) != 2):
        raise ValueError(f"validation: expected a pair of images and labels, got {type(validation).__name__}")
    if taught := model.classifier.taught:
        raise ValueError(f"model: expected no taught classes, got {taught}; call forget first")
    if settings.loss == "structural" and len(model.classes) < 2:
        raise ValueError(f"loss: expected at least two classes for 'structural', got {model.classes}")
    if "classifier" in settings.freeze and not bool(model.classifier.templates.any()):
        raise ValueError("freeze: expected a classifier with templates, got one whose templates are unset")
    if settings.device == "cuda" and not torch.cuda.is_available():
        raise ValueError("device: expected 'auto' or 'cpu', as PyTorch finds no CUDA device, got 'cuda'")
    if resume and folder is None:
        raise ValueError("run_dir: expected the folder of the run to resume, got None")


def check_unused(folder: Path) -> None:
    """Refuses a folder in which a run has saved its metrics or a checkpoint.

    Raises:
        ValueError: There is such a file.
    """
    for path in (folder / METRICS, folder / FOLDER / LAST):
        if path.exists():
            raise ValueError(f"run_dir: expected a folder without a run, or resume=True, got one with {path}")


@contextmanager
def _frozen(model: ImageClassificationModel, parts: Sequence[str]) -> Iterator[None]:
    """Keeps gradients from parts of a model."""
    parameters = [parameter for part in parts for parameter in model.get_submodule(part).parameters()]
    learning = [parameter for parameter in parameters if parameter.requires_grad]
    for parameter in learning:
        parameter.requires_grad_(False)
    try:
        yield
    finally:
        for parameter in learning:
            parameter.requires_grad_(True)
