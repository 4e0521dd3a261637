"""Which edges are strong enough to be drawn, and how wide."""

import numpy as np

from grapheme_pyg.visualization.layouts import Array

# The strongest hundredth of edges has one width: a single outlier would make all others thin.
QUANTILE = 0.99


def relative_strengths(strength: Array, level: Array) -> Array:
    """Strengths as shares of the strongest hundredth of their level, where a norm has made them comparable.

    Args:
        strength: ``[num_edges]``, not negative.
        level: ``[num_edges]`` integers, of the targets.

    Returns:
        ``[num_edges]``, 1 at the quantile 0.99 of each level; 0 where all of a level are.
    """
    relative = np.zeros(len(strength))
    for stage in np.unique(level):
        here = level == stage
        relative[here] = strength[here] / max(float(np.quantile(strength[here], QUANTILE)), np.finfo(np.float64).tiny)
    return relative


def strongest(strength: Array, level: Array, number: int) -> Array:
    """The strongest edges into each level; levels with few edges keep them all, the others get equally many.

    Args:
        strength: ``[num_edges]``.
        level: ``[num_edges]`` integers, of the targets.
        number: How many to choose, at most ``num_edges``.

    Returns:
        ``[number]`` integers, positions of edges, the weakest first.
    """
    chosen, left = [np.empty(0, dtype=np.int64)], number
    stages, counts = np.unique(level, return_counts=True)
    order = counts.argsort(kind="stable")
    for i, stage in enumerate(stages[order]):
        # What small levels do not need is there for the bigger ones that follow.
        here = np.flatnonzero(level == stage)
        share = min(len(here), left // (len(stages) - i))
        chosen.append(here[(-strength[here]).argsort(kind="stable")[:share]])
        left -= share
    edges = np.concatenate(chosen)
    return edges[strength[edges].argsort(kind="stable")]
