"""Readout: which nodes of a graph are pooled."""

from collections.abc import Callable, Sequence
from typing import Self

import torch
from torch import Tensor, nn

from grapheme_pyg.dag import check_integers, check_range, sinks
from grapheme_pyg.native import available
from grapheme_pyg.nn import kernels
from grapheme_pyg.nn.graph_checks import check_device

READOUTS = ("levels", "sinks")


class Readout(nn.Module):
    """Chooses the nodes whose states say what a graph shows.

    Args:
        node_kinds: For each node type, the kind of entity that it stands for: in a grid, its level.
        node_rounds: For each node type, its round of computation.
        method: ``"levels"`` chooses the nodes of the last round of each kind, kind by kind; ``"sinks"`` the nodes
            without outgoing edges, together. Sinks are chosen in both.

    Shapes:
        - **edge_index**: ``[2, num_edges]`` int64
        - **node_type**: ``[num_nodes]`` int64
        - **output**: for each kind, or for all together, ``[num_chosen]`` int64, ascending

    Raises:
        ValueError: The method is another, or node types are not as above.
    """

    kind: Tensor
    read: Tensor

    def __init__(self, node_kinds: Sequence[int], node_rounds: Sequence[int], method: str = "levels") -> None:
        super().__init__()
        if method not in READOUTS:
            raise ValueError(f"readout: expected one of {READOUTS}, got {method!r}")
        self.method, self.num_kinds = method, max(node_kinds) + 1
        types = list(zip(node_kinds, node_rounds, strict=True))
        read = [(kind, number + 1) not in types for kind, number in types]
        self.register_buffer("kind", torch.tensor(node_kinds), persistent=False)
        self.register_buffer("read", torch.tensor(read), persistent=False)

    # Module.type would turn these integers into numbers of another kind, too.
    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Self:
        nn.Module._apply(self, lambda tensor: fn(tensor).to(tensor.dtype), recurse)
        return self

    def forward(self, edge_index: Tensor, node_type: Tensor | None, num_nodes: int) -> list[Tensor]:
        """The nodes to pool; see the class for shapes."""
        check_device("edge_index", edge_index, self)
        if self.method == "sinks" or node_type is None:
            return [sinks(edge_index, num_nodes)]
        check_integers("node_type", node_type, (num_nodes,))
        if available() and edge_index.device.type == "cpu" and edge_index.dtype == torch.int64:
            chosen = kernels.choose_nodes(edge_index[0], node_type, self.kind, self.read, self.num_kinds)
            if chosen is not None:
                return chosen
        nodes = sinks(edge_index, num_nodes)
        check_range("node_type", "node", node_type, self.read.numel())
        read = self.read[node_type]
        read[nodes] = True
        kind = torch.where(read, self.kind[node_type], -1)
        return [(kind == number).nonzero().squeeze(1) for number in range(self.num_kinds)]
