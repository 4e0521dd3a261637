"""Readout: which nodes of a graph are pooled."""

from collections.abc import Sequence

import torch
from torch import Tensor

READOUTS = ("levels", "sinks")


class Readout:
    """Says which nodes tell what a graph shows; planning chooses them.

    Args:
        node_kinds: For each node type, the kind of entity that it stands for: in a grid, its level.
        node_rounds: For each node type, its round of computation.
        method: ``"levels"`` chooses the nodes of the last round of each kind, kind by kind; ``"sinks"`` the nodes
            without outgoing edges, together. Sinks are chosen in both.

    Attributes:
        tables: As :func:`grapheme_pyg.nn.planning.make_plan` takes it: the kind of each node type, ``[num_node_types]``
            int64; whether all its nodes are pooled, bool; and the number of kinds.

    Raises:
        ValueError: The method is another.
    """

    def __init__(self, node_kinds: Sequence[int], node_rounds: Sequence[int], method: str = "levels") -> None:
        if method not in READOUTS:
            raise ValueError(f"readout: expected one of {READOUTS}, got {method!r}")
        self.method = method
        types = list(zip(node_kinds, node_rounds, strict=True))
        read = [(kind, number + 1) not in types for kind, number in types]
        if method == "sinks":
            node_kinds, read = [0] * len(types), [False] * len(types)
        # Not on the device "meta", where models are made whose weights are still to be read.
        kinds = torch.tensor(node_kinds, dtype=torch.int64, device="cpu"), torch.tensor(read, device="cpu")
        self.tables: tuple[Tensor, Tensor, int] = (*kinds, max(node_kinds) + 1)
