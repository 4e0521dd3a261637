"""Whitening matrices of node features, with which the weights of features learn all directions at the same pace."""

from collections.abc import Iterable

import torch
from torch import Tensor
from torch_geometric.data import Batch

from grapheme_pyg.nn import DagNN

# Share of a feature's variance that counts as noise; and the smallest standard deviation, for constant features.
NOISE, SMALLEST = 0.01, 0.01


def whitening_matrices(dag: DagNN, graphs: Iterable[Batch]) -> dict[str, Tensor]:
    r"""Computes a whitening matrix for the input weights of each node type.

    It is :math:`D^{-1} (R + \varepsilon I)^{-1/2}`, where :math:`D` holds the standard deviations of the features and
    :math:`R` their correlations ("ZCA-cor" in Kessy et al., "Optimal Whitening and Decorrelation", 2018). The factor of
    a direction is at most :math:`\varepsilon^{-1/2}`, so that noise is not enlarged beyond measure.

    Args:
        dag: The network.
        graphs: Batches of some of its graphs.

    Returns:
        ``[in_channels, in_channels]`` by the name of the node type, for types that occur more than once.
    """
    parts = [(batch.x, batch.node_type) for batch in graphs]
    x, node_type = (torch.cat(column) for column in zip(*parts, strict=True))
    found = {}
    for number, (name, width) in enumerate(zip(dag.vocabulary.node_types, dag.in_channels, strict=True)):
        features = x[node_type == number, :width].double()
        if name not in dag.input_weight or len(features) < 2:
            continue
        covariance = features.t().cov().view(width, width)
        scale = covariance.diagonal().sqrt().clamp(min=SMALLEST)
        values, vectors = torch.linalg.eigh(covariance / (scale[:, None] * scale))
        root = vectors * (values.clamp(min=0) + NOISE).rsqrt() @ vectors.t()
        found[name] = root / scale[:, None]
    return found
