"""Training runs in folders: settings, metrics, checkpoints, the model, and its evaluation."""

import json
import time
from contextlib import nullcontext
from dataclasses import asdict
from datetime import UTC, datetime
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Any

from torch import Tensor

from grapheme_pyg.atomic import replace_file
from grapheme_pyg.extras import missing
from grapheme_pyg.model import ImageClassificationModel
from grapheme_pyg.names import say
from grapheme_pyg.report import write_report
from grapheme_pyg.training import TrainingSettings, fit
from grapheme_pyg.training.checkpoints import FOLDER
from grapheme_pyg.training.fit import check_arguments, check_unused
from grapheme_pyg.training.loop import Log
from grapheme_pyg.training.processes import Processes
from grapheme_pyg.training.run_lock import alone_in
from grapheme_pyg.visualization import draw_learning_curves, draw_predictions

if TYPE_CHECKING:
    from collections.abc import Sequence

    Labelled = tuple[Tensor | Sequence[Tensor], Tensor]

DRAWN_IMAGES = 6
# Folders of a run.
MODEL, REPORT = "model", "report"
SETTINGS, TEST = "settings.json", "test.json"


def new_run_dir(name: str, *, resume: bool = False, outside: Path | None = None) -> Path:
    """Makes the folder ``runs/<name>-<date>-<time>``, or finds that of the newest run of a data set.

    If a folder of that name exists, a number is appended. The start and the data set of a run are read from its
    ``settings.json``; copies of runs under other names are ignored. Of several processes, only the first makes or finds
    a folder, since it alone writes files.

    Args:
        name: Name of the data set.
        resume: Whether to find the newest run.
        outside: A folder of pictures; if ``runs`` would be in it, ``runs`` is made next to it.

    Raises:
        ValueError: There is no run to resume.
        OSError: The folder cannot be made.
    """
    runs = Path("runs")
    if outside is not None and _is_inside(runs, outside):
        runs = outside.resolve().parent / runs
    if not Processes.of_environment().writes:
        return runs / name
    if resume:
        found = [(started, folder) for folder in runs.glob("*") if (started := _started(folder, name))]
        if not found:
            raise ValueError(f"resume: expected a run of {name} in {runs.absolute()}, or a run_dir, got neither")
        return max(found)[1]
    now = f"{name}-{time.strftime('%Y%m%d-%H%M%S')}"
    for number in count(1):
        folder = runs / (now if number == 1 else f"{now}-{number}")
        try:
            folder.mkdir(parents=True)
        except FileExistsError:
            continue
        break
    return folder


def _started(folder: Path, name: str) -> str | None:
    """Returns when a run was started, in UTC; None if the folder holds no run of this data set, or a copy of one."""
    try:
        described = json.loads((folder / SETTINGS).read_bytes())
        return str(described["started"]) if (described["dataset"], described["run"]) == (name, folder.name) else None
    except (OSError, ValueError, KeyError, TypeError):
        return None


def check_outside(name: str, place: Path, pictures: Path) -> None:
    """Refuses to write results into a folder of pictures, where the next run would take them for pictures.

    Raises:
        ValueError: ``place`` is in the folder of pictures.
    """
    if _is_inside(place, pictures):
        raise ValueError(f"{name}: expected a folder outside of the pictures in {pictures}, got {place}")


def _is_inside(place: Path, pictures: Path) -> bool:
    return pictures.is_dir() and place.resolve().is_relative_to(pictures.resolve())


def train_run(
    model: ImageClassificationModel,
    training: "Labelled",
    validation: "Labelled",
    *,
    name: str,
    settings: TrainingSettings,
    run_dir: Path,
    test: "Labelled | None" = None,
    views: int | None = None,
    resume: bool = False,
    tensorboard: bool = False,
) -> None:
    """Trains a model, calibrates and tests it, and saves the results in a folder.

    The files are ``settings.json``, ``metrics.csv``, ``checkpoints``, ``learning_curves.png`` and ``model``; with test
    images also ``report/…`` and ``predictions.png`` of :func:`evaluate_run` and, at the very end, ``test.json``. A run
    that was stopped at any time continues with ``resume`` and ends with the same weights, bit for bit. Of several
    processes (see :func:`grapheme_pyg.fit`), only the first writes, calibrates and tests. Other runs cannot write to
    the folder in the meantime.

    Args:
        model: The model, which is trained in place.
        training: Training images and labels in any form that :func:`grapheme_pyg.fit` accepts.
        validation: Validation images and labels, for the accuracy after each epoch and for the temperature.
        name: Name of the data set.
        settings: How to train.
        run_dir: The folder; made if missing.
        test: Test images and labels, for the report on the trained model only.
        views: Number of views of each test image to average over, as in :meth:`ImageClassificationModel.predict`.
        resume: Whether to continue the run in the folder, which must have the same model, settings and data.
        tensorboard: Whether to write TensorBoard logs, too.

    Raises:
        ValueError: The folder holds a run and ``resume`` is False, or an argument is invalid, as in
            :func:`grapheme_pyg.fit`.
    """
    check_arguments(model, validation, settings, run_dir, resume=resume)  # before the folder is made
    writes = Processes.of_environment().writes
    with alone_in(run_dir) if writes else nullcontext():
        settings = settings.for_images(len(training[0]), in_colour=model.vision.in_channels == 3)
        if writes:
            if not resume:
                check_unused(run_dir)
            _describe(model, len(training[0]), len(validation[0]), name, settings, run_dir)
        started = time.perf_counter()
        metrics = fit(
            model,
            *training,
            validation=validation,
            settings=settings,
            run_dir=run_dir,
            resume=resume,
            log=_tensorboard_log(run_dir) if tensorboard and writes else None,
        )
        seconds = time.perf_counter() - started
        if not writes:
            return
        say(f"trained {name} in {seconds:.0f} s")
        model.calibrate(*validation)
        model.save_pretrained(run_dir / MODEL)
        curves = draw_learning_curves(metrics)
        curves.suptitle(name)
        curves.savefig(run_dir / "learning_curves.png")
        if test is None:
            return
        accuracy = evaluate_run(
            model, *test, name=f"{name}, test images", folder=run_dir / REPORT, predictions=run_dir, views=views
        )
        result = {
            "dataset": name,
            "test_accuracy": accuracy,
            "num_weights": _num_weights(model),
            "seed": settings.seed,
            "seconds": seconds,
        }
        # Written last, as the sign that the run is complete.
        _write_json(run_dir / TEST, result)
        say(f"test accuracy {100 * accuracy:.2f} % on {name}, {len(test[0]):,} images")


def _describe(
    model: ImageClassificationModel, images: int, held_out: int, name: str, settings: TrainingSettings, run_dir: Path
) -> None:
    """Prints what is trained on which data, and saves a description of the run unless it is resumed."""
    if not (run_dir / SETTINGS).exists() or not any((run_dir / FOLDER).glob("*.ckpt")):
        described = {
            "dataset": name,
            "run": run_dir.resolve().name,
            "started": datetime.now(UTC).isoformat(timespec="microseconds"),
            "training_images": images,
            "validation_images": held_out,
            "num_weights": _num_weights(model),
            "training": asdict(settings),
            "vision": model.vision.config,
            "model": model.config,
        }
        _write_json(run_dir / SETTINGS, described)
    counts = f"{images:,} training, {held_out:,} validation images"
    if model.vision.longer_side is not None:
        counts += f", scaled to {model.vision.longer_side} pixels"
    say(f"{name}: {counts}; {_num_weights(model):,} weights; results go to {run_dir}")


def _num_weights(model: ImageClassificationModel) -> int:
    return sum(weight.numel() for weight in model.parameters())


def _write_json(path: Path, value: dict[str, Any]) -> None:
    replace_file(path, (json.dumps(value, indent=2, allow_nan=False) + "\n").encode())


def _tensorboard_log(run_dir: Path) -> Log:
    """Returns a function that writes the metrics of an epoch for TensorBoard."""
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError as error:
        raise missing(error.name, "to write TensorBoard logs", "tensorboard") from error

    writer = SummaryWriter(run_dir / "tensorboard")

    def log(metrics: dict[str, float], epoch: int) -> None:
        for name, value in metrics.items():
            writer.add_scalar(name, value, epoch)
        writer.flush()

    return log


def evaluate_run(
    model: ImageClassificationModel,
    images: "Tensor | Sequence[Tensor]",
    labels: "Tensor",
    *,
    name: str,
    folder: Path,
    predictions: Path | None = None,
    views: int | None = None,
) -> float:
    """Evaluates a model on test images, and writes a report and a few predictions.

    The files are those of :func:`grapheme_pyg.report.write_report` and ``predictions.png``.

    Args:
        model: The model.
        images: N images in any form that :meth:`VisionBrain.batch` accepts.
        labels: ``[N]`` int64, in [0, num_classes).
        name: A name for the images, such as ``"mnist, test images"``.
        folder: The folder of the report; made if missing.
        predictions: The folder of ``predictions.png``; that of the report if None.
        views: Number of views of each image to average over, as in :meth:`ImageClassificationModel.predict`.

    Returns:
        The accuracy, in [0, 1].

    Raises:
        ValueError: An argument has another form.
    """
    if isinstance(images, Tensor) and images.dim() == 3:
        images = images[:, None]  # three grey images could be taken for one in colour
    prediction = model.predict(images, views=views)
    hits = prediction.probabilities.argmax(dim=1) == labels
    write_report(
        folder,
        name=name,
        probabilities=prediction.probabilities,
        images=images,
        labels=labels,
        vision=model.vision,
        classes=model.classes,
    )
    # Half of the drawn images are mistakes, if there are as many, since they are the most instructive.
    wrong = (~hits).nonzero().flatten()[: DRAWN_IMAGES // 2].tolist()
    shown = (hits.nonzero().flatten()[: DRAWN_IMAGES - len(wrong)].tolist() + wrong)[:DRAWN_IMAGES]
    chosen = [images[i] for i in shown]
    figure = draw_predictions(
        chosen,
        [model.vision(image) for image in chosen],
        [str(prediction.labels[i]) for i in shown],
        prediction.confidences[shown],
        prediction.similarities[shown],
        model.classes,
        truth=[model.classes[int(labels[i])] for i in shown],
        metadata=model.vision.metadata,
    )
    figure.suptitle(name)
    figure.savefig((predictions or folder) / "predictions.png")
    return hits.float().mean().item()
