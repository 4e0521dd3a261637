"""The states of a graph's nodes, and the strengths of the messages along its edges. Knows no plots."""

from typing import NamedTuple

import torch
from torch import Tensor
from torch_geometric.data import Data

from grapheme_pyg.nn.dag_nn import DagNN
from grapheme_pyg.nn.evaluating import evaluating
from grapheme_pyg.nn.plan import pad_channels


class Messages(NamedTuple):
    """The result of :func:`messages`.

    Attributes:
        states: ``[num_nodes, out_channels]``, narrower states zero-padded, of the weights' dtype.
        strengths: ``[num_edges]``, not negative, of the weights' dtype.
    """

    states: Tensor
    strengths: Tensor


@evaluating
def messages(dag: DagNN, data: Data) -> Messages:
    r"""Computes node states and the strengths of edges, always in evaluation mode.

    The strength of an edge is the Euclidean norm of its contribution to the mean within its relation,

    .. math:: s_{uv} = \frac{\lVert W_r^\top h_u + V_r^\top e_{uv} \rVert}{n_{rv}}

    where :math:`n_{rv}` is the number of edges of type :math:`r` into :math:`v`; the other symbols are those of
    :class:`grapheme_pyg.nn.DagNN`. Norms are not additive: two strong messages can cancel each other.

    Args:
        dag: The network.
        data: A graph or a batch of graphs with the fields that the network uses, in any precision.

    Raises:
        ValueError: The graph is invalid.
    """
    dtype = next(dag.parameters()).dtype
    attr = None if data.edge_attr is None else data.edge_attr.to(dtype)
    fields = data.edge_index, data.edge_type, data.get("node_type"), data.get("level")
    plan = dag.plan(*fields, num_nodes=data.x.shape[0])
    states = pad_channels(plan.by_node(dag(data.x.to(dtype), plan, attr)), dag.out_channels)
    vocabulary, (source, target) = dag.vocabulary, data.edge_index
    strengths = states.new_zeros(source.numel())
    # One type at a time, because messages of all edges take far more memory than states of all nodes.
    for edge_type in data.edge_type.unique().tolist():
        edges = (data.edge_type == edge_type).nonzero().squeeze(1)
        pair, row = vocabulary.pairs[vocabulary.pair_of_type[edge_type]], vocabulary.relation_of_type[edge_type]
        weight = dag.weight[pair][row]
        brought = states[source[edges], : weight.shape[0]] @ weight
        if attr is not None and pair in dag.edge_weight:
            brought = brought + attr[edges] @ dag.edge_weight[pair][row]
        number = torch.bincount(target[edges], minlength=states.shape[0])[target[edges]]
        strengths[edges] = brought.norm(dim=1) / number
    return Messages(states, strengths)
