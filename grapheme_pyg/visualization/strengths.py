"""Strengths of edges, for their selection and width in pictures."""

import numpy as np

from grapheme_pyg.visualization.layouts import Array

# The strongest hundredth of edges have the same width, so that an outlier does not make all others thin.
QUANTILE = 0.99


def relative_strengths(strength: Array, level: Array) -> Array:
    """Divides strengths by the quantile 0.99 of their level, within which norms make them comparable.

    Args:
        strength: ``[num_edges]``, not negative.
        level: ``[num_edges]`` integers, the levels of the targets.

    Returns:
        ``[num_edges]``, 1 at the quantile 0.99 of each level; 0 if all strengths of a level are 0.
    """
    relative = np.zeros(len(strength))
    for stage in np.unique(level):
        here = level == stage
        relative[here] = strength[here] / max(float(np.quantile(strength[here], QUANTILE)), np.finfo(np.float64).tiny)
    return relative


def strongest(strength: Array, level: Array, number: int) -> Array:
    """Selects the strongest edges into each level: equal numbers, except for levels with fewer edges, which keep all.

    Args:
        strength: ``[num_edges]``.
        level: ``[num_edges]`` integers, the levels of the targets.
        number: The number of edges to select, at most ``num_edges``.

    Returns:
        ``[number]`` integers, positions of edges, weakest first.
    """
    chosen, left = [np.empty(0, dtype=np.int64)], number
    stages, counts = np.unique(level, return_counts=True)
    order = counts.argsort(kind="stable")
    for i, stage in enumerate(stages[order]):
        # Small levels come first, and leave more for larger ones.
        here = np.flatnonzero(level == stage)
        share = min(len(here), left // (len(stages) - i))
        chosen.append(here[(-strength[here]).argsort(kind="stable")[:share]])
        left -= share
    edges = np.concatenate(chosen)
    return edges[strength[edges].argsort(kind="stable")]
