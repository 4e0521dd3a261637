"""What networks of typed graphs take, and that they refuse the rest."""

from dataclasses import dataclass

import torch
from torch import Tensor

from grapheme_pyg.dag import check_shapes, topological_levels
from grapheme_pyg.errors import GraphError
from grapheme_pyg.nn.graph_checks import check_finite, check_graph, require_tensor
from grapheme_pyg.nn.vocabulary import EdgeVocabulary


@dataclass(frozen=True)
class GraphInput:
    """What a network takes; it looks at graphs before anything is computed with them.

    Attributes:
        vocabulary: Of the types of nodes and edges.
        num_features: How many leading columns of ``x`` are used.
        edge_dim: Width of ``edge_attr``, 0 if it is not used.
    """

    vocabulary: EdgeVocabulary
    num_features: int
    edge_dim: int

    def check(
        self,
        x: Tensor | None,
        edge_index: Tensor | None,
        edge_type: Tensor | None,
        node_type: Tensor | None = None,
        level: Tensor | None = None,
        edge_attr: Tensor | None = None,
        batch: Tensor | None = None,
        num_graphs: int = 1,
        *,
        dtype: torch.dtype = torch.float32,
    ) -> tuple[Tensor, Tensor]:
        """Refuses what this network cannot compute, before anything indexes with it; on the device of the fields.

        Args:
            x: ``[num_nodes, >= num_features]``, of the weights' dtype; finite.
            edge_index: ``[2, num_edges]`` int64, source → target; in [0, num_nodes).
            edge_type: ``[num_edges]`` int64, index into the edge types, of which each joins two node types.
            node_type: ``[num_nodes]`` int64, index into the node types; may be None if there is one.
            level: ``[num_nodes]`` int64, in [0, 2³¹), rising along every edge; computed if None.
            edge_attr: ``[num_edges, edge_dim]``, of the weights' dtype; finite. Not looked at if ``edge_dim`` is 0.
            batch: ``[num_nodes]`` int64, ascending, the graph of each node, which no edge leaves; one graph if None.
            num_graphs: Number of graphs.
            dtype: Of the network's weights.

        Returns:
            ``node_type`` and ``level``, made where there was none.

        Raises:
            GraphError: Naming the field, the first offending edge or node, what was expected and what came;
                :class:`grapheme_pyg.dag.CycleError` names the nodes of a cycle.
        """
        x = require_tensor("x", x)
        width, num_node_types = self.num_features, len(self.vocabulary.node_types)
        if x.dim() != 2 or x.shape[1] < width:
            raise GraphError(f"x: expected shape [num_nodes, at least {width}], got {list(x.shape)}")
        if x.dtype != dtype:
            raise GraphError(f"x: expected dtype {dtype}, the weights', got {x.dtype}")
        if node_type is None and num_node_types == 1:
            node_type = torch.zeros(x.shape[0], dtype=torch.int64, device=x.device)
        edge_index, edge_type = (
            require_tensor(name, value, x.device)
            for name, value in (("edge_index", edge_index), ("edge_type", edge_type))
        )
        if node_type is None:
            raise GraphError(f"node_type: expected one of {num_node_types} types for each node, got None")
        node_type = require_tensor("node_type", node_type, x.device)
        batch = None if batch is None else require_tensor("batch", batch, x.device)
        if level is None:
            check_shapes(edge_index, edge_type, {}, x.shape[0])
            level = topological_levels(edge_index, x.shape[0])
        level = require_tensor("level", level, x.device)
        check_graph(
            edge_index,
            edge_type,
            node_type,
            level,
            batch,
            num_nodes=x.shape[0],
            num_graphs=num_graphs,
            num_node_types=num_node_types,
            joined=self.vocabulary.joined,
        )
        check_finite("x", "node", x)
        if self.edge_dim > 0:
            shape = [edge_type.numel(), self.edge_dim]
            if edge_attr is None:
                raise GraphError(f"edge_attr: expected {dtype} of shape {shape}, got None")
            edge_attr = require_tensor("edge_attr", edge_attr, x.device)
            if list(edge_attr.shape) != shape or edge_attr.dtype != dtype:
                came = f"{edge_attr.dtype} of shape {list(edge_attr.shape)}"
                raise GraphError(f"edge_attr: expected {dtype} of shape {shape}, got {came}")
            check_finite("edge_attr", "edge", edge_attr)
        return node_type, level
