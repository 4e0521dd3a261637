"""Pictures of predictions and of learning curves."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, MaxNLocator, NullFormatter
from torch import Tensor
from torch_geometric.data import Data

from grapheme_pyg.visualization.dags import draw_dag
from grapheme_pyg.visualization.networks import Metadata
from grapheme_pyg.visualization.relations import GROUPS, LATERAL, PART_OF, UNSELECTED
from grapheme_pyg.visualization.text import WRONG, add_title, as_label, as_labels

if TYPE_CHECKING:
    from grapheme_pyg.vision.pixels import Images

MAX_BARS = 12  # more would be illegible


def draw_predictions(
    images: "Images",
    graphs: Sequence[Data],
    labels: Sequence[str],
    confidences: Tensor,
    similarities: Tensor,
    classes: Sequence[str],
    *,
    truth: Sequence[str] | None = None,
    metadata: Metadata | None = None,
    figure: Figure | None = None,
) -> Figure:
    """Draws a row for each image: its graph over the image, its graph as a network, and its similarities with classes.

    Args:
        images: uint8 ``[N, H, W]`` or ``[N, C, H, W]``, or a sequence of images; a few of them.
        graphs: The graphs of the images.
        labels: The predicted classes.
        confidences: ``[N]``, in [0, 1].
        similarities: ``[N, num_classes]``, cosines in [−1, 1]; if there are many classes, the most similar are shown.
        classes: Names of the classes.
        truth: The true classes; titles of wrong predictions are red.
        metadata: ``brain.metadata``, for names of levels.
        figure: The figure to draw on; by default a new one.

    Returns:
        The figure.

    Raises:
        ValueError: There are no images, or an argument has another length or shape.
    """
    num_images = len(images)
    if num_images == 0:
        raise ValueError("images: expected at least one image, got none")
    for name, values in {"graphs": graphs, "labels": labels, "truth": labels if truth is None else truth}.items():
        if len(values) != num_images:
            raise ValueError(f"{name}: expected {num_images}, as many as images, got {len(values)}")
    shapes = {"confidences": (confidences, [num_images]), "similarities": (similarities, [num_images, len(classes)])}
    for name, (tensor, shape) in shapes.items():
        if list(tensor.shape) != shape:
            raise ValueError(f"{name}: expected shape {shape}, got {list(tensor.shape)}")

    if figure is None:
        figure = Figure(figsize=(12, 3.3 * num_images), layout="constrained")
    rows = figure.subplots(num_images, 3, squeeze=False, width_ratios=(3, 5, 2.5))
    for i, (over, levels, bars) in enumerate(rows):
        draw_dag(graphs[i], images[i], ax=over)
        draw_dag(graphs[i], metadata=metadata, layout="levels", ax=levels)
        shown = similarities[i].topk(min(len(classes), MAX_BARS)).indices.sort().values.tolist()
        names = [classes[kind] for kind in shown]
        colors = [GROUPS[PART_OF][1] if name == labels[i] else UNSELECTED for name in names]
        bars.barh(range(len(names)), similarities[i, shown].tolist(), color=colors)
        bars.set_yticks(range(len(names)), as_labels(names))
        bars.set(xlim=(-1, 1), ylim=(len(names) - 0.5, -0.5), xlabel="cosine similarity")
        bars.axvline(0, color="black", linewidth=0.8)
        bars.spines[["top", "right", "left"]].set_visible(False)
        wrong = truth is not None and truth[i] != labels[i]
        title = [f"predicted {as_label(labels[i])} ({100 * float(confidences[i]):.1f} %)"]
        if truth is not None:
            title = [f"{title[0]},", f"truth {as_label(truth[i])}"]
        add_title(over, title, 36, color=WRONG if wrong else "black")
    return figure


def draw_learning_curves(metrics: Sequence[Mapping[str, Any]], *, figure: Figure | None = None) -> Figure:
    """Draws losses and validation accuracy over epochs.

    Args:
        metrics: For each epoch ``epoch``, ``train_loss`` and, where measured, ``val_loss`` and ``val_accuracy``
            (in [0, 1]), as :func:`grapheme_pyg.fit` returns them; other keys are ignored.
        figure: The figure to draw on; by default a new one.

    Returns:
        The figure.

    Raises:
        ValueError: There are no epochs, or one lacks ``epoch`` or ``train_loss``.
    """
    if not metrics:
        raise ValueError("metrics: expected at least one epoch, got none")
    for i, row in enumerate(metrics):
        if row.get("epoch") is None or row.get("train_loss") is None:
            raise ValueError(f"metrics[{i}]: expected the keys epoch and train_loss, got {sorted(row)}")

    if figure is None:
        figure = Figure(figsize=(10, 3.8), layout="constrained")
    losses, accuracy = figure.subplots(1, 2)
    curves = (
        (losses, "train_loss", 1, LATERAL),
        (losses, "val_loss", 1, PART_OF),
        (accuracy, "val_accuracy", 100, PART_OF),
    )
    for ax, key, factor, color in curves:
        points = [(row["epoch"], factor * row[key]) for row in metrics if row.get(key) is not None]
        if points:
            label = "training" if key == "train_loss" else "validation"
            ax.plot(*zip(*points, strict=True), "o-", color=GROUPS[color][1], label=label, markersize=3.5)
        if points and ax is accuracy:
            epoch, last = points[-1]
            ax.set_title(f"{last:.2f} % after epoch {epoch}", fontsize="medium")
            ax.set_ylim(top=min(100, ax.get_ylim()[1]))
    losses.set_ylabel("loss")
    if any(max(line.get_ydata()) > 0 for line in losses.lines):  # the loss of a single class is 0
        losses.set_yscale("log")
        losses.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        losses.yaxis.set_major_formatter("{x:g}")
        losses.yaxis.set_minor_formatter(NullFormatter())
    losses.legend(frameon=False)
    accuracy.set_ylabel("validation accuracy (%)")
    for ax in (losses, accuracy):
        ax.set(xlabel="epoch", xlim=(metrics[0]["epoch"] - 0.5, metrics[-1]["epoch"] + 0.5))
        ax.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
        ax.grid(which="both", alpha=0.25, linewidth=0.6)
        ax.spines[["top", "right"]].set_visible(False)
    return figure
