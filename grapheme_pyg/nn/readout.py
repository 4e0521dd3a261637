"""Readout says which nodes of a graph are pooled."""

from collections.abc import Sequence

import torch
from torch import Tensor

READOUTS = ("levels", "sinks")


class Readout:
    """Says which nodes are pooled; planning chooses them.

    Args:
        node_kinds: For each node type, the kind of entity that it stands for: in a grid, its level.
        node_rounds: For each node type, its round of computation.
        method: ``"levels"`` pools the last round of each kind, each kind separately, and also nodes without outgoing
            edges; ``"sinks"`` pools only nodes without outgoing edges, all together.

    Attributes:
        tables: The argument ``readout`` of :func:`grapheme_pyg.nn.planning.make_plan`: the kind of each node type,
            ``[num_node_types]`` int64; whether all nodes of each type are pooled, bool; and the number of kinds.

    Raises:
        ValueError: The method is unknown.
    """

    def __init__(self, node_kinds: Sequence[int], node_rounds: Sequence[int], method: str = "levels") -> None:
        if method not in READOUTS:
            raise ValueError(f"readout: expected one of {READOUTS}, got {method!r}")
        self.method = method
        types = list(zip(node_kinds, node_rounds, strict=True))
        read = [(kind, number + 1) not in types for kind, number in types]
        if method == "sinks":
            node_kinds, read = [0] * len(types), [False] * len(types)
        # On the CPU even if the default device is "meta", on which models are made before their weights are read.
        kinds = torch.tensor(node_kinds, dtype=torch.int64, device="cpu"), torch.tensor(read, device="cpu")
        self.tables: tuple[Tensor, Tensor, int] = (*kinds, max(node_kinds) + 1)
