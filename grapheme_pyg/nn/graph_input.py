"""What networks of typed graphs take, and that they refuse the rest."""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch_geometric.data import Batch, Data

from grapheme_pyg.dag import check_shapes, topological_levels
from grapheme_pyg.errors import GraphError
from grapheme_pyg.nn.graph_checks import check_finite, check_graph, count_graphs, require_tensor, with_precision
from grapheme_pyg.nn.vocabulary import EdgeVocabulary


@dataclass(frozen=True)
class GraphFields:
    """The fields of a graph, or of a batch of graphs, as they came; see :meth:`GraphInput.check` for what they must be.

    Attributes:
        x: Features of nodes.
        edge_index: Ends of edges.
        edge_type: Types of edges.
        node_type: Types of nodes.
        level: Generations of nodes.
        edge_attr: Features of edges.
        batch: The graph of each node.
        num_graphs: Number of graphs; None if ``batch`` says it.
    """

    x: Tensor | None
    edge_index: Tensor | None
    edge_type: Tensor | None
    node_type: Tensor | None = None
    level: Tensor | None = None
    edge_attr: Tensor | None = None
    batch: Tensor | None = None
    num_graphs: int | None = None

    @classmethod
    def of(cls, data: Data | Batch) -> "GraphFields":
        """Those of PyG's object, None where it has none.

        Raises:
            GraphError: It is no such object, or one that knows of itself that its fields contradict each other.
        """
        if not isinstance(data, Data):
            raise GraphError(f"batch: expected a Data or a Batch, got {type(data).__name__}")
        # Graphs of images know whether what belongs to edges has followed them into another order.
        if hasattr(data, "check_order"):
            data.check_order()
        ptr = data.get("ptr")
        num_graphs = ptr.numel() - 1 if isinstance(ptr, Tensor) else None
        names = ("x", "edge_index", "edge_type", "node_type", "level", "edge_attr", "batch")
        fields = {name: data.get(name) for name in names}
        return cls(**fields, num_graphs=getattr(data, "_num_graphs", num_graphs))


@dataclass(frozen=True)
class CheckedGraph:
    """Fields that a network can compute with; those that may be missing were made, or are None if they are not used."""

    x: Tensor
    edge_index: Tensor
    edge_type: Tensor
    node_type: Tensor
    level: Tensor
    edge_attr: Tensor | None
    batch: Tensor | None
    num_graphs: int


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

    def check(self, fields: GraphFields, dtype: torch.dtype, *, convert: bool = False) -> CheckedGraph:
        """Refuses what this network cannot compute, before anything indexes with it; on the device of the fields.

        Args:
            fields: ``x``: ``[num_nodes, >= num_features]``, of the weights' dtype; finite.
                ``edge_index``: ``[2, num_edges]`` int64, source → target; in [0, num_nodes).
                ``edge_type``: ``[num_edges]`` int64, index into the edge types, of which each joins two node types.
                ``node_type``: ``[num_nodes]`` int64, index into the node types; may be None if there is one.
                ``level``: ``[num_nodes]`` int64, in [0, 2³¹), rising along every edge; computed if None.
                ``edge_attr``: ``[num_edges, edge_dim]``, of the weights' dtype; finite. Not looked at if ``edge_dim``
                is 0.
                ``batch``: ``[num_nodes]`` int64, ascending, the graph of each node, which no edge leaves; one graph if
                None.
            dtype: Of the network's weights.
            convert: Whether features may be of another floating-point precision, and are brought to that of the
                weights.

        Raises:
            GraphError: Naming the field, the first offending edge or node, what was expected and what came;
                :class:`grapheme_pyg.dag.CycleError` names the nodes of a cycle.
        """
        x = with_precision("x", fields.x, dtype) if convert else require_tensor("x", fields.x)
        width, num_node_types = self.num_features, len(self.vocabulary.node_types)
        if x.dim() != 2 or x.shape[1] < width:
            raise GraphError(f"x: expected shape [num_nodes, at least {width}], got {list(x.shape)}")
        if x.dtype != dtype:
            raise GraphError(f"x: expected dtype {dtype}, the weights', got {x.dtype}")
        edge_index, edge_type = (
            require_tensor(name, value, x.device)
            for name, value in (("edge_index", fields.edge_index), ("edge_type", fields.edge_type))
        )
        node_type = fields.node_type
        if node_type is None and num_node_types == 1:
            node_type = torch.zeros(x.shape[0], dtype=torch.int64, device=x.device)
        if node_type is None:
            raise GraphError(f"node_type: expected one of {num_node_types} types for each node, got None")
        node_type = require_tensor("node_type", node_type, x.device)
        batch = None if fields.batch is None else require_tensor("batch", fields.batch, x.device)
        num_graphs = count_graphs(batch, x.shape) if fields.num_graphs is None else fields.num_graphs
        level = fields.level
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
        edge_attr = None
        if self.edge_dim > 0:
            shape = [edge_type.numel(), self.edge_dim]
            if fields.edge_attr is None:
                raise GraphError(f"edge_attr: expected {dtype} of shape {shape}, got None")
            edge_attr = require_tensor("edge_attr", fields.edge_attr, x.device)
            if convert:
                edge_attr = with_precision("edge_attr", edge_attr, dtype)
            if list(edge_attr.shape) != shape or edge_attr.dtype != dtype:
                came = f"{edge_attr.dtype} of shape {list(edge_attr.shape)}"
                raise GraphError(f"edge_attr: expected {dtype} of shape {shape}, got {came}")
            check_finite("edge_attr", "edge", edge_attr)
        return CheckedGraph(x, edge_index, edge_type, node_type, level, edge_attr, batch, num_graphs)
