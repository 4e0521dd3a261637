"""The typed convolution of a generation of nodes, with separate weights for each edge type."""

import torch
import torch.nn.functional as F
from torch import Tensor

from grapheme_pyg import ops
from grapheme_pyg.nn.plan import Neighbours


def typed_conv(
    x: Tensor,
    weight: Tensor,
    neighbours: Neighbours,
    edge_attr: Tensor | None = None,
    edge_weight: Tensor | None = None,
) -> Tensor:
    r"""Sums over relations the weighted mean of the neighbours' states.

    .. math:: out_v = \sum_r \operatorname{mean}_{(u \to v) \text{ of type } r} (W_r^\top x_u + V_r^\top e_{uv})

    On a lattice, where a node has at most one edge of each relation, this is a convolution, and relations are the
    positions in its kernel.

    Args:
        x: ``[num_sources, in_channels]``, states of the sources.
        weight: ``[num_relations, in_channels, out_channels]``.
        neighbours: The table of neighbours.
        edge_attr: ``[num_edges, edge_dim]``, or None.
        edge_weight: ``[num_relations, edge_dim, out_channels]``, with ``edge_attr``.

    Returns:
        ``[num_targets, out_channels]``.
    """
    x, segments = in_autocast(x), neighbours.segments
    if segments is None:
        out = ops.typed_conv(x, neighbours.rows, weight, neighbours.readers)
        if edge_attr is None or edge_weight is None:
            return out
        assert neighbours.edges is not None, "expected a plan whose edges are numbered"
        return out + ops.typed_conv(in_autocast(edge_attr), neighbours.edges, edge_weight, None)
    # Reduce, then multiply: the mean of a segment is read like a single neighbour.
    means = ops.segment_mean(x, segments.sources, segments.first, segments.of_edge)
    if edge_attr is not None and edge_weight is not None:
        assert neighbours.edges is not None, "expected a plan whose edges are numbered"
        more = ops.segment_mean(in_autocast(edge_attr), neighbours.edges, segments.first, segments.of_edge)
        means, weight = torch.cat([means, more], dim=1), torch.cat([weight, edge_weight], dim=1)
    return ops.typed_conv(means, neighbours.rows, weight, neighbours.readers)


def own_conv(x: Tensor, weight: Tensor, nodes: Tensor) -> Tensor:
    """Multiplies the features of nodes, given by number plus one, ``[num_nodes, 1]``, by their input weight."""
    return ops.typed_conv(x[:, : weight.shape[0]], nodes, weight[None], None)


def one_relation(x: Tensor, neighbours: Neighbours, relation: int) -> Tensor:
    """Averages within one relation, ``[num_targets, channels]``; 0 where there is no edge.

    Args:
        x: ``[num_sources, channels]``.
        neighbours: The table of neighbours.
        relation: Number of the relation.
    """
    rows, segments = neighbours.rows[:, relation], neighbours.segments
    if segments is not None:
        x = ops.segment_mean(x, segments.sources, segments.first, segments.of_edge)
    # Usually each target reads the row of its own number, and comparing is much faster than gathering.
    elif (
        x.device.type == "cpu"
        and not torch.compiler.is_compiling()
        and torch.equal(rows, torch.arange(1, x.shape[0] + 1, dtype=torch.int32))
    ):
        return x
    return F.pad(x, (0, 0, 1, 0)).index_select(0, rows)


def in_autocast(x: Tensor) -> Tensor:
    """Converts a tensor to the dtype of autocast, if it is on."""
    device = x.device.type
    return x.to(torch.get_autocast_dtype(device)) if torch.is_autocast_enabled(device) else x
