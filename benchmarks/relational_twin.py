"""DagNN with PyG's relational convolutions."""

from typing import Any

import torch
from torch import Tensor, nn
from torch_geometric.nn import RGCNConv

from grapheme_pyg.nn import DagNN
from grapheme_pyg.nn.plan import Neighbours, Plan


class RelationalTwin(DagNN):
    """The sweep and weights of a DagNN, with messages by ``RGCNConv`` or ``FastRGCNConv``.

    Both average within each relation, like :class:`DagNN`, so that the states are equal.

    Args:
        dag: The network to copy, without edge attributes.
        conv: ``RGCNConv`` or ``FastRGCNConv``.
    """

    def __init__(self, dag: DagNN, conv: type[RGCNConv]) -> None:
        vocabulary = dag.vocabulary
        super().__init__((vocabulary.node_types, vocabulary.edge_types), dag.in_channels, dag.hidden_channels)
        self.load_state_dict(dag.state_dict())
        self.convs = nn.ModuleDict()
        for pair, weight in self.weight.items():
            # Targets must have a width, which has no effect without a root weight.
            layer = conv((weight.shape[1], 1), weight.shape[2], len(weight), root_weight=False, bias=False)
            layer.weight = weight
            self.convs[pair] = layer

    def plan(self, edge_index: Tensor, edge_type: Tensor, *fields: Any, **options: Any) -> Plan:
        """Plans with numbers of edges, from which their ends are found."""
        return super().plan(edge_index, edge_type, *fields, **options, number_edges=True)

    def _receive(self, x: Tensor, read: Neighbours, edge_attr: Tensor | None) -> Tensor:  # noqa: ARG002
        _, source, slot = read.by_edge()
        num_targets, num_relations = read.rows.shape
        ends = torch.stack([source, slot // num_relations])
        received: Tensor = self.convs[read.pair]((x, x.new_empty(num_targets, 1)), ends, slot % num_relations)
        return received
