"""A training run in a folder: settings, metrics, checkpoints, the model, and how good it is."""

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
from grapheme_pyg.training.fit import check_unused
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
    """Makes ``runs/<name>-<date>-<time>``, or finds the newest run of these data if it is to be resumed.

    The folder is new: where there is one of that name, a number follows. Which run is the newest, and of which data it
    is, stands in its ``settings.json``; copies of runs under other names are left alone. Of several processes only the
    first makes or finds a folder, as it alone has files.

    Args:
        name: Of the data.
        resume: Whether to take the newest one.
        outside: A folder of pictures: where ``runs`` would be in it, it is beside it.

    Raises:
        ValueError: There is none to resume.
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
            raise ValueError(f"resume: expected a run of {name} in {runs.absolute()}, or a run_dir, got none")
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
    """Returns when a run was started, in UTC; None if the folder holds no run of these data, or a copy of one."""
    try:
        described = json.loads((folder / SETTINGS).read_bytes())
        return str(described["started"]) if (described["dataset"], described["run"]) == (name, folder.name) else None
    except (OSError, ValueError, KeyError, TypeError):
        return None


def check_outside(name: str, place: Path, pictures: Path) -> None:
    """Refuses a folder of results within one of pictures, where the next run would take it for pictures.

    Raises:
        ValueError: It is there.
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
    """Trains a model, calibrates and tests it, and keeps all that is worth keeping in a folder.

    The files are ``settings.json``, ``metrics.csv``, ``checkpoints``, ``learning_curves.png`` and ``model``; with
    images for a test those of :func:`evaluate_run`, and at the very end ``test.json``. A run that was stopped, even at
    once, goes on with ``resume`` and ends with the same weights, to the last bit. Of several processes (see
    :func:`grapheme_pyg.fit`) only the first writes, remembers, calibrates and tests. It keeps other runs out of the
    folder.

    Args:
        model: To train, in place.
        training: Images and labels, as :func:`grapheme_pyg.fit` takes them.
        validation: The same, held out: for the accuracy after each epoch, and for the temperature.
        name: Of the data.
        settings: How to train.
        run_dir: The folder; made if missing.
        test: Images and labels that decide nothing, for a report on the trained model.
        views: Over how many views of each test image to average, as of :meth:`ImageClassificationModel.predict`.
        resume: Whether to go on with the run in that folder, of the same model, settings and data.
        tensorboard: Whether to write TensorBoard logs too.

    Raises:
        ValueError: The folder has a run that is not resumed; or as :func:`grapheme_pyg.fit`.
    """
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
        accuracy = evaluate_run(model, *test, name=f"{name}, test images", folder=run_dir, views=views)
        result = {
            "dataset": name,
            "test_accuracy": accuracy,
            "num_weights": _num_weights(model),
            "seed": settings.seed,
            "seconds": seconds,
        }
        # Last, so that it says that the run is complete.
        _write_json(run_dir / TEST, result)
        say(f"test accuracy {100 * accuracy:.2f} % on {name}, {len(test[0]):,} images")


def _describe(
    model: ImageClassificationModel, images: int, held_out: int, name: str, settings: TrainingSettings, run_dir: Path
) -> None:
    """Says what is trained on what, and keeps it with the run, unless it goes on and is described already."""
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
        counts += f", brought to {model.vision.longer_side} pixels"
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
    views: int | None = None,
) -> float:
    """Says how good a model is on images that it has not seen.

    The files are ``report/…``, see :func:`grapheme_pyg.report.write_report`, and ``predictions.png`` with a few images.

    Args:
        model: The model.
        images: N, as :meth:`VisionBrain.batch` takes them.
        labels: ``[N]`` int64, in [0, num_classes).
        name: What they are, such as ``"mnist, test images"``.
        folder: Where to write; made if missing.
        views: Over how many views of each image to average, as of :meth:`ImageClassificationModel.predict`.

    Returns:
        The accuracy, in [0, 1].

    Raises:
        ValueError: An argument is not as above.
    """
    if isinstance(images, Tensor) and images.dim() == 3:
        images = images[:, None]  # three of them are not one in colour
    prediction = model.predict(images, views=views)
    hits = prediction.probabilities.argmax(dim=1) == labels
    write_report(
        folder / REPORT,
        name=name,
        probabilities=prediction.probabilities,
        images=images,
        labels=labels,
        vision=model.vision,
        classes=model.classes,
    )
    # Half of what is drawn are mistakes, if there are as many: they teach the most.
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
    figure.savefig(folder / "predictions.png")
    return hits.float().mean().item()
