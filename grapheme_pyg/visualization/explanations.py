"""draw_explanation: pictures of explanations, with attributions of pixels and edges."""

from typing import TYPE_CHECKING

import numpy as np
import torch
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure
from torch import Tensor

from grapheme_pyg.explanation import Explanation
from grapheme_pyg.vision.pixels import to_grey, to_pixels

if TYPE_CHECKING:
    from grapheme_pyg.vision.pixels import Image

# From blue (against) over white to red (for), which colour-blind people can distinguish.
COLOURS = colormaps["RdBu_r"]


def draw_explanation(explanation: Explanation, image: "Image", *, ax: Axes | None = None, max_edges: int = 100) -> Axes:
    """Draws attributions for a class in red, and against it in blue, over a pale image.

    Edges of several rounds between the same two places are drawn once, with the sum of their attributions; edges from
    an entity to itself are left out. The opacity of a pixel or edge shows its attribution, relative to the largest.

    Args:
        explanation: The explanation of the image.
        image: The image that :func:`grapheme_pyg.explain` was given.
        ax: The axes; by default those of a new figure, ``result.figure``.
        max_edges: The number of edges to draw, strongest first; 0 for none.

    Returns:
        The axes.

    Raises:
        ValueError: ``image`` is not an image or has another size than the explanation, or ``max_edges`` is negative.
    """
    if max_edges < 0:
        raise ValueError(f"max_edges: expected a non-negative integer, got {max_edges}")
    grey = to_grey(to_pixels(image, 3)).numpy() / 255
    if grey.shape != tuple(explanation.pixels.shape):
        raise ValueError(f"image: expected the size {list(explanation.pixels.shape)}, got {list(grey.shape)}")
    if ax is None:
        ax = Figure(figsize=(4, 4), layout="constrained").subplots()
    # Pale, and dark on light whatever the image, so that colours are visible.
    ax.imshow(1 - 0.35 * np.abs(grey - np.median(grey)), cmap="gray", vmin=0, vmax=1, extent=(0, 1, 1, 0))
    ax.imshow(_painted(explanation.pixels), extent=(0, 1, 1, 0), interpolation="nearest")
    lines, strength = _strongest(explanation, max_edges)
    ax.add_collection(LineCollection(lines, colors=_painted(strength), linewidths=2, capstyle="round"))
    height, width = grey.shape
    ax.set(xlim=(0, 1), ylim=(1, 0), aspect=height / width, xticks=[], yticks=[])
    return ax


def _painted(values: Tensor) -> "np.ndarray[tuple[int, ...], np.dtype[np.float64]]":
    """Returns the colours of values, ``[..., 4]``; 0 is transparent."""
    scaled = (values / values.abs().max().clamp(min=1e-30)).numpy() if values.numel() else values.numpy()
    painted = COLOURS(0.5 + 0.5 * np.sign(scaled) * (0.4 + 0.6 * np.abs(scaled)))
    painted[..., 3] = np.abs(scaled)
    return np.asarray(painted)


def _strongest(explanation: Explanation, number: int) -> tuple[list[list[list[float]]], Tensor]:
    """Returns lines between places, and the sums of their edges' attributions, strongest last."""
    place, start = explanation.graph.pos.unique(dim=0, return_inverse=True)
    ends = start[explanation.graph.edge_index].sort(dim=0).values
    apart = ends[0] != ends[1]
    pairs, pair = ends[:, apart].unique(dim=1, return_inverse=True)
    total = torch.zeros(pairs.shape[1]).index_add_(0, pair, explanation.edges[apart])
    chosen = total.abs().argsort()[len(total) - min(number, len(total)) :]
    return place[pairs[:, chosen]].transpose(0, 1).tolist(), total[chosen]
