"""What a network computes in one graph: the states of its nodes, and how much each edge brings. Knows no plots."""

from typing import NamedTuple

import torch
from torch import Tensor
from torch_geometric.data import Data

from grapheme_pyg.nn.dag_nn import DagNN
from grapheme_pyg.nn.evaluating import evaluating
from grapheme_pyg.nn.plan import pad_channels


class Messages(NamedTuple):
    """What :func:`messages` found.

    Attributes:
        states: ``[num_nodes, out_channels]``, narrower states zero-padded, of the weights' dtype.
        strengths: ``[num_edges]``, not negative, of the weights' dtype.
    """

    states: Tensor
    strengths: Tensor


@evaluating
def messages(dag: DagNN, data: Data) -> Messages:
    r"""Node states, and the strengths of edges, in evaluation mode, whatever mode the network is in.

    The strength of an edge is the Euclidean length of what it brings to its target, as its share of the mean within
    the relation,

    .. math:: s_{uv} = \frac{\lVert W_r^\top h_u + V_r^\top e_{uv} \rVert}{n_{rv}}

    with :math:`n_{rv}` the number of edges of type :math:`r` into :math:`v`; see :class:`grapheme_pyg.nn.DagNN` for the
    rest. Norms are not additive: messages of opposite directions are strong, and cancel each other.

    Args:
        dag: The network.
        data: A graph or a batch of graphs, with the fields that the network takes; of any precision.

    Raises:
        ValueError: The graph is not as the network takes it.
    """
    dtype = next(dag.parameters()).dtype
    attr = None if data.edge_attr is None else data.edge_attr.to(dtype)
    fields = data.edge_index, data.edge_type, data.get("node_type"), data.get("level")
    plan = dag.plan(*fields, num_nodes=data.x.shape[0])
    states = pad_channels(plan.by_node(dag(data.x.to(dtype), plan, attr)), dag.out_channels)
    vocabulary, (source, target) = dag.vocabulary, data.edge_index
    strengths = states.new_zeros(source.numel())
    # One type at a time: what all edges bring is far more than what all nodes are.
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
