"""fit: trains a model on images and labels."""

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, replace
from functools import partial
from math import ceil
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from grapheme_pyg.augmentation import RandomCutout, RandomDegradation, RandomDropping, RandomWarp
from grapheme_pyg.checks import as_path
from grapheme_pyg.datasets.labelled_images import Augmentation, ImageDataset, labelled_images
from grapheme_pyg.datasets.samplers import EpochBatches, EpochSampler
from grapheme_pyg.errors import CheckpointError
from grapheme_pyg.model import ImageClassificationModel
from grapheme_pyg.training.checkpoints import FOLDER, LAST, limits_of, newest_checkpoint
from grapheme_pyg.training.data import describe_data, in_parts, look_at, make_loader
from grapheme_pyg.training.loop import Log, OnEpochEnd, TrainingLoop
from grapheme_pyg.training.losses import BatchLosses, weights_of_classes
from grapheme_pyg.training.lost_classes import warn_of_lost_classes
from grapheme_pyg.training.processes import Processes
from grapheme_pyg.training.progress import EpochMetrics, ProgressReport
from grapheme_pyg.training.remembering import remember
from grapheme_pyg.training.run_lock import alone_in
from grapheme_pyg.training.settings import TrainingSettings
from grapheme_pyg.training.state import check_state, state_of, take_up

if TYPE_CHECKING:
    from grapheme_pyg.vision.pixels import Images

METRICS = "metrics.csv"
# Without gradients there is room for more graphs at once.
VALIDATION_BATCH = 256
# Of robust training: share of the images that are moved further, and the steps from which on there is all of it.
WIDE, ALL_STEPS = 0.075, 1000
# Of images in colour: what is photographed is rigid, and has two sides.
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
    """Trains a model, in place, and leaves it with a memory of training images, which says what is unfamiliar.

    The memory is calibrated by the validation images, if there are any, so that ``model.predict(images, reject=0.02)``
    refuses what is unlike anything known, and classes can be taught. What the model remembered before is forgotten.

    Processes that ``torchrun`` has started train it together, by PyTorch's ``DistributedDataParallel``: each calls this
    with the same arguments, takes its share of every mini-batch, and ends with the same weights. Batch statistics are
    those of each process's share; running statistics are averaged after each step. The first process writes all files.

    Before the first epoch the graphs of some images are made: :class:`grapheme_pyg.errors.ImageWarning` says if nearly
    all have a single node, as of blank images. Large images make mini-batches that are trained on in parts, of at most
    2²⁰ pixels and nodes, whose gradients are added up; batch statistics are then those of a part.

    At the end :class:`grapheme_pyg.errors.TrainingWarning` names classes of which the last validation recognised no
    image, and different classes of which a template has become the same: cosine above 1 − 10⁻⁶.

    Args:
        model: The model; left in evaluation mode, in the precision and on the device in which it came.
        images: As :meth:`grapheme_pyg.VisionBrain.batch` takes them; a sequence may read them when they are asked for,
            as :class:`grapheme_pyg.datasets.ImageFiles` does.
        labels: ``[N]``, integers in [0, num_classes) or names of classes, as :func:`grapheme_pyg.labels.to_labels`
            takes them.
        validation: Images and labels for the accuracy after each epoch.
        settings: How to train; the defaults if None.
        run_dir: Where to write ``metrics.csv`` after each epoch, and ``checkpoints/last.ckpt`` and ``previous.ckpt``
            after each epoch and within it; nothing if None.
        resume: Whether to continue the run in ``run_dir``, which must have the same model, settings and data; it may
            have more epochs than planned, and then follows the schedule of so many from there on. The result is
            bit-identical to that of an uninterrupted run. Without a checkpoint, training starts from the beginning.
        log: Called after each epoch with its metrics and number, such as ``wandb.log`` or ``mlflow.log_metrics``.
        on_epoch_end: Called after each epoch with the model, as it would be if training ended there, and the metrics of
            all epochs; training ends if it returns True.
        verbose: Whether to show a progress bar, in a terminal, and a line for each epoch.

    Returns:
        For each epoch: ``epoch``, ``train_loss``, ``val_loss`` and ``val_accuracy`` (with ``validation``),
        ``learning_rate`` (of AdamW), ``kernel_learning_rate`` (of Muon, if used), ``graphs_per_second`` and
        ``seconds``; for a resumed run from its first epoch.

    Raises:
        ValueError: A setting, an image or a label is out of range, ``run_dir`` holds a run that is not resumed, or the
            model has classes that were taught.
        CheckpointError: No checkpoint of the run can be read, it is of another run, or one cannot be written.
        TrainingError: The loss, its gradient or a weight is not finite, or a process that loads has ended; the last
            checkpoint is from before. Or another process trains in ``run_dir``.
        KeyboardInterrupt: SIGINT came; the step was finished and saved.
        SystemExit: SIGTERM came; the same, with exit code 143.
    """
    settings = TrainingSettings() if settings is None else settings
    folder = None if run_dir is None else as_path("run_dir", run_dir)
    _check_arguments(model, validation, settings, folder, resume=resume)
    processes = Processes.of_environment()
    kinds: dict[str, Any] = {"classes": model.classes, "vision": model.vision}
    training = labelled_images(images, labels, seed=settings.seed, **kinds)
    if isinstance(training, ImageDataset):
        kinds["vision"] = model.vision = model.vision.for_images_of(*training.images.shape[-2:])
    held_out = None if validation is None else labelled_images(*validation, name="validation", **kinds)
    at_once, home = look_at(training, model.vision)
    in_colour = model.vision.in_channels == 3
    settings = settings.for_images(len(training), in_colour=in_colour)
    settings = in_parts(settings, at_once, verbose=verbose and processes.writes)
    assert settings.batch_size is not None, "for_images: expected to have set it"
    assert settings.epochs is not None, "for_images: expected to have set it"
    steps = settings.epochs * ceil(len(training) / (settings.batch_size * settings.accumulate))
    robust = settings.augment and model.vision.relative if settings.robust is None else settings.robust
    strength = min(1.0, steps / ALL_STEPS) if robust else 0.0
    augment, calm = (_augmentation(settings, some, in_colour=in_colour) for some in (strength, 0.0))
    training.augment_by(augment, later=calm, since=settings.robust_epochs)
    described = {
        "settings": asdict(settings),
        "model": model.config,
        "vision": model.vision.config,
        "data": describe_data(training),
    }
    share = {"rank": processes.rank, "world_size": processes.world_size}
    balanced = training.labels if settings.sampling == "balanced" else None
    batches = EpochBatches(EpochSampler(training, settings.seed, balanced), settings.batch_size, **share)
    loader = make_loader(training, batches, model.vision, settings)
    validation_loader = None
    if held_out is not None:
        at_once = min(max(settings.batch_size, VALIDATION_BATCH), look_at(held_out, model.vision)[0])
        in_order = EpochBatches(range(len(held_out)), at_once, **share)
        validation_loader = make_loader(held_out, in_order, model.vision, settings)

    dtype, origin = model.classifier.templates.dtype, model.classifier.templates.device
    cuda = settings.device == "cuda" or (settings.device == "auto" and torch.cuda.is_available())
    device = torch.device("cuda", processes.local_rank) if cuda else torch.device("cpu")
    processes.connect(cuda=cuda)
    show, class_weights = verbose and processes.writes, weights_of_classes(settings, training.labels, model.classes)
    table = folder / METRICS if folder is not None and processes.writes else None
    with ExitStack() as stack:
        if folder is not None and processes.writes:
            stack.enter_context(alone_in(folder))
            if not resume:
                check_unused(folder)
        before = model.classifier.memory, model.home
        model.forget()
        model.home = replace(home, mirrored=settings.augment and bool(settings.flip))
        stack.callback(lambda: model.to(origin, dtype).eval())
        model.to(device, torch.float64 if settings.precision == "64-true" else dtype)
        stack.enter_context(_frozen(model, settings.freeze))
        stack.enter_context(torch.random.fork_rng())
        report = stack.enter_context(ProgressReport(table, settings.epochs, len(batches), verbose=show))
        loop = TrainingLoop(
            BatchLosses(model, settings, None if class_weights is None else class_weights.to(device)),
            settings,
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
        if resume:
            found = None
            if folder is not None and processes.writes:
                limits = limits_of(state_of(loop, [0.0, 0.0]), settings.epochs)
                try:
                    found = newest_checkpoint(folder, partial(check_state, loop), limits)
                except CheckpointError:  # nothing was trained
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


def _augmentation(settings: TrainingSettings, strength: float, *, in_colour: bool) -> list[Augmentation]:
    """What is done to training images, robust training of a strength in [0, 1] among it."""
    assert settings.flip is not None, "for_images: expected to have set it"
    augment: list[Augmentation] = []
    if settings.augment:
        moved = OF_PHOTOGRAPHS if in_colour else RandomWarp(wide=WIDE * strength)
        augment.append(replace(moved, flip=settings.flip))
        if in_colour:
            augment.append(RandomCutout())
    if strength > 0:
        augment.append(RandomDegradation(share=RandomDegradation.share * strength))
    return augment


def _check_arguments(
    model: ImageClassificationModel,
    validation: object,
    settings: TrainingSettings,
    folder: Path | None,
    *,
    resume: bool,
) -> None:
    """Refuses what no training can begin with."""
    if (dtype := model.classifier.templates.dtype) not in (torch.float32, torch.float64):
        expected = 'weights in float32 or float64 (TrainingSettings(precision="bf16-mixed") trains in half precision)'
        raise ValueError(f"model: expected {expected}, got {dtype}")
    if not isinstance(settings, TrainingSettings):
        raise ValueError(f"settings: expected TrainingSettings, got {settings!r}")
    if validation is not None and (not isinstance(validation, tuple | list) or len(validation) != 2):
        raise ValueError(f"validation: expected images and labels, got {type(validation).__name__}")
    if taught := model.classifier.taught:
        raise ValueError(f"model: expected no classes that were taught, got {taught}; call forget first")
    if settings.loss == "structural" and len(model.classes) < 2:
        raise ValueError(f"loss: expected at least two classes for 'structural', got {model.classes}")
    if "classifier" in settings.freeze and not bool(model.classifier.templates.any()):
        raise ValueError("freeze: expected a classifier with templates, got one whose templates are unset")
    if settings.device == "cuda" and not torch.cuda.is_available():
        raise ValueError("device: expected 'auto' or 'cpu', as PyTorch finds no CUDA device here, got 'cuda'")
    if resume and folder is None:
        raise ValueError("run_dir: expected a folder for resume, got none")


def check_unused(folder: Path) -> None:
    """Refuses a folder in which a run has saved something; one that has saved nothing is no loss.

    Raises:
        ValueError: There is one.
    """
    for path in (folder / METRICS, folder / FOLDER / LAST):
        if path.exists():
            raise ValueError(f"run_dir: expected a folder without a run, or resume; {path} is there already")


@contextmanager
def _frozen(model: ImageClassificationModel, parts: Sequence[str]) -> Iterator[None]:
    """Lets parts have no gradients."""
    parameters = [parameter for part in parts for parameter in model.get_submodule(part).parameters()]
    learning = [parameter for parameter in parameters if parameter.requires_grad]
    for parameter in learning:
        parameter.requires_grad_(False)
    try:
        yield
    finally:
        for parameter in learning:
            parameter.requires_grad_(True)
