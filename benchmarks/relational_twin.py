"""DagNN with PyG's relational convolutions in place of its own."""

import torch
from torch import Tensor, nn
from torch_geometric.nn import RGCNConv

from grapheme_pyg.nn import DagNN
from grapheme_pyg.nn.slots import EdgeBlock


class RelationalTwin(DagNN):
    """The same sweep and the same weights; what a group receives comes from ``RGCNConv`` or ``FastRGCNConv``.

    Both average within each relation, as :class:`DagNN` does, so that the states are equal.

    Args:
        dag: Whose layers to copy. Without edge attributes.
        conv: ``RGCNConv`` or ``FastRGCNConv``.
    """

    def __init__(self, dag: DagNN, conv: type[RGCNConv]) -> None:
        vocabulary = dag.vocabulary
        super().__init__((vocabulary.node_types, vocabulary.edge_types), dag.in_channels, dag.hidden_channels)
        self.load_state_dict(dag.state_dict())
        self.convs = nn.ModuleDict()
        for pair, weight in self.weight.items():
            # It must have some width at the targets; without weights of their own that changes nothing.
            layer = conv((weight.shape[1], 1), weight.shape[2], len(weight), root_weight=False, bias=False)
            layer.weight = weight
            self.convs[pair] = layer

    def _receive(self, x: Tensor, block: EdgeBlock, edge_attr: Tensor | None) -> Tensor:  # noqa: ARG002
        ends = torch.stack([block.source, block.slot // block.num_relations])
        targets = x.new_empty(block.num_targets, 1)
        layer = self.convs[self.vocabulary.pairs[block.pair]]
        received: Tensor = layer((x, targets), ends, block.slot % block.num_relations)
        return received
