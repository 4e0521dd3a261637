"""A training run in a folder: settings, metrics, checkpoints, the model, and how good it is."""

import json
import time
from dataclasses import asdict
from glob import escape
from pathlib import Path
from typing import TYPE_CHECKING

from torch import Tensor

from grapheme_pyg.atomic import replace_file
from grapheme_pyg.model import ImageClassificationModel
from grapheme_pyg.names import say
from grapheme_pyg.report import write_report
from grapheme_pyg.training import TrainingSettings, fit
from grapheme_pyg.training.checkpoints import FOLDER, LAST
from grapheme_pyg.training.fit import METRICS
from grapheme_pyg.training.loop import Log
from grapheme_pyg.training.processes import Processes
from grapheme_pyg.visualization import draw_learning_curves, draw_predictions

if TYPE_CHECKING:
    from collections.abc import Sequence

    Labelled = tuple[Tensor | Sequence[Tensor], Tensor]

DRAWN_IMAGES = 6
# Folders of a run.
MODEL, REPORT = "model", "report"
SETTINGS = "settings.json"


def new_run_dir(name: str, *, resume: bool = False, outside: Path | None = None) -> Path:
    """``runs/<name>-<date>-<time>``, of now, or the newest one that is there if it is to be resumed.

    Of several processes only the first needs to find it, as it alone has files.

    Args:
        name: Of the data.
        resume: Whether to take the newest one.
        outside: A folder of pictures: where ``runs`` would be in it, it is beside it.

    Raises:
        ValueError: There is none to resume.
    """
    runs = Path("runs")
    if outside is not None and _is_inside(runs, outside):
        runs = outside.resolve().parent / runs
    if not resume or not Processes.of_environment().writes:
        return runs / f"{name}-{time.strftime('%Y%m%d-%H%M%S')}"
    found = sorted(runs.glob(f"{escape(name)}-{'[0-9]' * 8}-{'[0-9]' * 6}"))
    if not found:
        raise ValueError(f"resume: expected a run of {name} in {runs.absolute()}, or a run_dir, got none")
    return found[-1]


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
    resume: bool = False,
    tensorboard: bool = False,
    remember: bool = False,
) -> float:
    """Trains a model, calibrates it, and keeps all that is worth keeping in a folder.

    The files are ``settings.json``, ``metrics.csv``, ``checkpoints``, ``learning_curves.png`` and ``model``. A run that
    was stopped, even at once, goes on with ``resume`` and ends with the same weights, to the last bit. Of several
    processes (see :func:`grapheme_pyg.fit`) only the first writes, remembers and calibrates.

    Args:
        model: To train, in place.
        training: Images and labels, as :func:`grapheme_pyg.fit` takes them.
        validation: The same, held out: for the accuracy after each epoch, and for the temperature.
        name: Of the data.
        settings: How to train.
        run_dir: The folder; made if missing.
        resume: Whether to go on with the run in that folder, of the same model, settings and data.
        tensorboard: Whether to write TensorBoard logs too.
        remember: Whether the model is to remember the training images.

    Returns:
        Seconds of training.

    Raises:
        ValueError: The folder has a run that is not resumed; or as :func:`grapheme_pyg.fit`.
    """
    # One that has saved nothing is no loss.
    if not resume and ((run_dir / METRICS).exists() or (run_dir / FOLDER / LAST).exists()):
        raise ValueError(f"run_dir: expected a folder without a run, got {run_dir}; choose another, or resume")
    num_weights = sum(weight.numel() for weight in model.parameters())
    settings = settings.for_images(len(training[0]))
    described = {
        "dataset": name,
        "training_images": len(training[0]),
        "validation_images": len(validation[0]),
        "num_weights": num_weights,
        "training": asdict(settings),
        "vision": model.vision.config,
        "model": model.config,
    }
    writes = Processes.of_environment().writes
    if writes:
        # A run that goes on is described already, and one that may not go on with this is not described by this.
        if not (resume and (run_dir / SETTINGS).exists()):
            replace_file(run_dir / SETTINGS, (json.dumps(described, indent=2, allow_nan=False) + "\n").encode())
        counts = f"{len(training[0]):,} training, {len(validation[0]):,} validation images"
        if model.vision.resize is not None:
            counts += f", brought to {model.vision.resize} pixels"
        say(f"{name}: {counts}; {num_weights:,} weights; results go to {run_dir}")
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
        return seconds
    say(f"trained {name} in {seconds:.0f} s")
    if remember:
        model.remember(*training)
    model.calibrate(*validation)
    model.save_pretrained(run_dir / MODEL)
    curves = draw_learning_curves(metrics)
    curves.suptitle(name)
    curves.savefig(run_dir / "learning_curves.png")
    return seconds


def _tensorboard_log(run_dir: Path) -> Log:
    """Returns a function that writes the metrics of an epoch for TensorBoard."""
    from torch.utils.tensorboard import SummaryWriter

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
    views: int = 1,
) -> float:
    """Says how good a model is on images that it has not seen.

    The files are ``report/…``, see :func:`grapheme_pyg.report.write_report`, and ``predictions.png`` with a few images.

    Args:
        model: The model.
        images: N, as :meth:`VisionBrain.batch` takes them.
        labels: ``[N]`` int64, in [0, num_classes).
        name: What they are, such as ``"mnist, test images"``.
        folder: Where to write; made if missing.
        views: Over how many shifted views of each image to average.

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
