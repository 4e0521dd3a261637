"""Pictures of an evaluation: confusions, calibration, and the hardest images."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.colors import LinearSegmentedColormap, LogNorm
from matplotlib.figure import Figure
from torch import Tensor
from torch_geometric.data import Data

from grapheme_pyg.evaluation import Evaluation, check_probabilities
from grapheme_pyg.visualization.dags import draw_dag
from grapheme_pyg.visualization.layouts import Array, places_and_scales
from grapheme_pyg.visualization.relations import GROUPS, LATERAL
from grapheme_pyg.visualization.text import WRONG, add_title, as_label, as_labels

if TYPE_CHECKING:
    from grapheme_pyg.vision.pixels import Images

# From rare to common. The first are not white, so that a cell with one image differs from one with none.
HITS, MISTAKES = ("#e3eef7", "#8fbfe3", "#1f6fb2"), ("#fdebdb", "#ee8f3d", "#8a3f06")
MAX_COUNTED = 30  # numbers in the cells of more classes would be illegible
Z = 1.96  # half the width of a 95 % interval, in standard deviations


def draw_confusion(confusion: Tensor, classes: Sequence[str], *, ax: Axes | None = None) -> Axes:
    """Draws a confusion matrix, with hits in blue, mistakes in orange and empty cells in white.

    The colour of a cell shows its share of the row, on a logarithmic scale down to one image of the largest class, so
    that single mistakes among thousands of images are visible. The numbers are images; next to each row is the share of
    its class that was recognised.

    Args:
        confusion: ``[C, C]`` int64, images by true class (rows) and predicted class (columns).
        classes: Names of the C classes.
        ax: The axes; by default those of a new figure, ``result.figure``.

    Returns:
        The axes.

    Raises:
        ValueError: ``confusion`` has another shape or dtype, a negative count, or no image.
    """
    size = len(classes)
    if confusion.dtype != torch.int64 or list(confusion.shape) != [size, size]:
        expected = f"an int64 tensor of shape [{size}, {size}] for {size} classes"
        raise ValueError(f"confusion: expected {expected}, got {confusion.dtype} of shape {list(confusion.shape)}")
    if confusion.sum() < 1 or confusion.min() < 0:
        got = f"counts with a sum of {int(confusion.sum())}"
        raise ValueError(f"confusion: expected at least one image and no negative counts, got {got}")
    if ax is None:
        side = float(np.clip(1.5 + 0.5 * size, 4, 18))
        ax = Figure(figsize=(side + 0.8, side), layout="constrained").subplots()
    counts = confusion.cpu().numpy()
    rows, hits = counts.sum(axis=1), np.eye(size, dtype=bool)
    shares = counts / np.maximum(rows, 1)[:, None]
    for colors, cells in ((HITS, hits), (MISTAKES, ~hits)):
        shown = np.ma.masked_where(~cells | (counts == 0), shares)
        ax.imshow(shown, LinearSegmentedColormap.from_list("", colors), LogNorm(1 / max(2, rows.max()), 1))
    if size <= MAX_COUNTED:
        style: dict[str, Any] = {"ha": "center", "va": "center", "fontsize": float(np.clip(110 / size, 5, 10))}
        for row, column in np.argwhere(counts).tolist():
            color = "white" if shares[row, column] > 0.3 else "black"
            ax.text(column, row, f"{counts[row, column]:,}", color=color, **style)
    for row in np.flatnonzero(rows).tolist():
        ax.text(size - 0.4, row, f"{100 * shares[row, row]:.1f} %", va="center", fontsize="small")
    ax.text(size - 0.4, -0.6, "recognised", va="bottom", fontsize="small")

    names = as_labels(classes)
    words = max(map(len, names)) > 3
    ax.set_xticks(range(size), names, rotation=45 if words else 0, ha="right" if words else "center")
    ax.set_yticks(range(size), names)
    # Lines between the cells.
    ax.set_xticks(np.arange(size + 1) - 0.5, minor=True)
    ax.set_yticks(np.arange(size + 1) - 0.5, minor=True)
    ax.grid(which="minor", color="#d5dade", linewidth=0.6)
    ax.tick_params(which="both", length=0)
    ax.spines[:].set_visible(False)
    total = counts.sum()
    ax.set(xlabel="predicted", ylabel="truth", title=f"{total - counts.trace():,} of {total:,} images mistaken")
    return ax


def draw_calibration(evaluation: Evaluation, *, ax: Axes | None = None) -> Axes:
    """Draws a reliability diagram (Guo et al., "On Calibration of Modern Neural Networks", 2017).

    For each bin of confidence with images, a bar shows the accuracy, a number above it the images, and a dot the mean
    confidence. On the diagonal, the model is right as often as its confidence says. Thin lines are Wilson's 95 %
    intervals of the accuracy ("Probable Inference, the Law of Succession, and Statistical Inference", 1927), which are
    wide for few images.

    Args:
        evaluation: The result of :func:`grapheme_pyg.evaluation.evaluate`.
        ax: The axes; by default those of a new figure, ``result.figure``.

    Returns:
        The axes, in per cent.
    """
    if ax is None:
        ax = Figure(figsize=(6.4, 6.4), layout="constrained").subplots()
    used = np.flatnonzero(evaluation.bin_counts.numpy())
    width = 100 / len(evaluation.bin_counts)
    columns = (evaluation.bin_counts, evaluation.bin_confidences, evaluation.bin_accuracies)
    counts, confidences, accuracies = (column.numpy()[used] for column in columns)
    low, high = _wilson(accuracies, counts)

    ax.plot([0, 100], [0, 100], "--", color="#777777", linewidth=1)
    ax.bar(width * used, 100 * accuracies, width, align="edge", color="#d3e7f5", edgecolor="white")
    ax.errorbar(
        100 * confidences,
        100 * accuracies,
        100 * np.stack([accuracies - low, high - accuracies]),
        fmt="o",
        color=GROUPS[LATERAL][1],
        ecolor="#5a5a5a",
        elinewidth=0.9,
        markersize=5,
        clip_on=False,  # so that dots at 0 and 100 are whole
        zorder=3,
    )
    for place, count in zip(width * (used + 0.5), counts, strict=True):
        ax.text(place, 101.5, f"{count:,}", ha="center", va="bottom", fontsize=6.5)
    ax.text(-1.5, 101.5, "images", ha="right", va="bottom", fontsize=6.5)
    error = f"expected calibration error {100 * evaluation.calibration_error:.2f} %"
    ax.set_title(error, fontsize="medium", pad=18)
    ax.set(xlim=(0, 100), ylim=(0, 100), xlabel="confidence (%)", ylabel="accuracy (%)", aspect="equal")
    ax.spines[["top", "right"]].set_visible(False)
    return ax


def draw_hardest(
    images: "Images",
    graphs: Sequence[Data],
    probabilities: Tensor,
    labels: Tensor,
    classes: Sequence[str],
    *,
    columns: int = 5,
    figure: Figure | None = None,
) -> Figure:
    """Draws a grid of images in the given order, each with the finest entities of its graph and their relations.

    The title of each image is "truth → predicted, confidence", in red if the two classes differ. Coarser entities are
    left out, since they would cover a small image.

    Args:
        images: uint8 ``[N, H, W]`` or ``[N, C, H, W]``, or a sequence of images; up to a few dozen.
        graphs: The graphs of the images.
        probabilities: ``[N, num_classes]``, in [0, 1], with rows that sum to 1 within 0.001.
        labels: ``[N]`` int64, true classes, in [0, num_classes).
        classes: Names of the classes.
        columns: Number of images in a row.
        figure: The figure to draw on; by default a new one.

    Returns:
        The figure.

    Raises:
        ValueError: There are no images, or an argument has another form.
    """
    num_images = len(images)
    if num_images == 0:
        raise ValueError("images: expected at least one image, got none")
    if columns < 1:
        raise ValueError(f"columns: expected a positive integer, got {columns}")
    if len(graphs) != num_images:
        raise ValueError(f"graphs: expected {num_images}, as many as images, got {len(graphs)}")
    shape = [num_images, len(classes)]
    if list(probabilities.shape) != shape:
        raise ValueError(f"probabilities: expected shape {shape}, got {list(probabilities.shape)}")
    check_probabilities(probabilities, labels)

    columns = min(columns, num_images)
    num_rows = -(-num_images // columns)
    if figure is None:
        figure = Figure(figsize=(2.3 * columns, 2.6 * num_rows), layout="constrained")
    axes = figure.subplots(num_rows, columns, squeeze=False).flatten()
    confidences, predicted = probabilities.max(dim=1)
    for i, ax in enumerate(axes[:num_images]):
        draw_dag(_finest(graphs[i]), images[i], ax=ax)
        ax.get_legend().remove()
        for lines in ax.collections:
            if isinstance(lines, LineCollection):
                lines.set(linewidth=0.6, alpha=0.9)
        truth, guess = classes[int(labels[i])], classes[int(predicted[i])]
        title = [f"{as_label(truth)} →", f"{as_label(guess)}, {100 * float(confidences[i]):.1f} %"]
        add_title(ax, title, 26, fontsize="medium", color="black" if truth == guess else WRONG)
    for ax in axes[num_images:]:
        ax.set_axis_off()
    return figure


def _finest(graph: Data) -> Data:
    """Returns the subgraph of all rounds of the finest entities, which are the first levels with the same places."""
    # Not all nodes at these places: a coarse cell that the border clips may have the centre of a finest one.
    _, scale = places_and_scales(graph.pos.cpu().numpy(), graph.level.cpu().numpy())
    finest: Data = graph.subgraph(torch.from_numpy(scale == 0).to(graph.level.device))
    return finest


def _wilson(shares: Array, counts: Array) -> tuple[Array, Array]:
    """Returns the ends of the intervals of shares of ``counts`` images; each share is within its interval."""
    centre = (shares + Z**2 / (2 * counts)) / (1 + Z**2 / counts)
    half = np.sqrt(shares * (1 - shares) / counts + (Z / (2 * counts)) ** 2) * Z / (1 + Z**2 / counts)
    return np.minimum(centre - half, shares), np.maximum(centre + half, shares)
