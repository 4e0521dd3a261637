"""DagNN computes the node states of any typed directed acyclic graph, generation by generation."""

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch_geometric.index import index2ptr
from torch_geometric.nn import MessagePassing
from torch_geometric.typing import EdgeType, OptTensor
from torch_geometric.utils import segment

from grapheme_pyg.checks import as_int
from grapheme_pyg.errors import GraphError
from grapheme_pyg.nn.graph_checks import check_device
from grapheme_pyg.nn.norm import GroupedBatchNormReLU, Statistics
from grapheme_pyg.nn.plan import Generation, Neighbours, Plan
from grapheme_pyg.nn.planning import make_plan
from grapheme_pyg.nn.typed_conv import in_autocast, one_relation, own_conv, typed_conv
from grapheme_pyg.nn.vocabulary import EdgeVocabulary, RelationNames
from grapheme_pyg.nn.weight_names import align_by_name

NORMS = ("batch", "layer", None)
# The relation between the nodes of one entity in consecutive rounds.
ITSELF = "self"


class DagNN(MessagePassing):
    r"""Computes node states by a feed-forward network that has the graph's shape and weights keyed by edge type.

    .. math::
        h_v = \operatorname{relu}\Bigl(\operatorname{norm}\Bigl(W^{in}_{\tau(v)} x_v + \sum_r
              \operatorname{mean}_{(u \to v) \text{ of type } r} (W_r h_u + V_r e_{uv})\Bigr)\Bigr)

    Every state is computed once, level by level in topological order. The weights belong to the module and not to the
    graph, so one topology uses what another has learned. The mean within a relation bounds the states of nodes of high
    degree; on a lattice, where a node has at most one incoming edge of each relation, the operator is a convolution. It
    accepts any typed DAG, also with several edges of a type into one node, edges that skip levels or stay within a node
    type, isolated nodes, or no edges at all.

    The weights of all relations between one pair of node types are one parameter ``[num_relations, in, out]`` under
    ``weight.<source>__<target>``. The state dict also holds the names of the relations, and loading matches weights by
    name: with ``strict=False``, a state dict of another vocabulary loads as far as the names agree.

    Args:
        metadata: Names of node types and triples (source node type, relation, target node type), all in
            ``[a-z0-9_]+``, as in PyG's ``HeteroData.metadata()``.
        in_channels: Number of leading columns of ``x`` that a node uses: one number, or one for each node type.
        hidden_channels: Width of the states: one number, or one for each node type.
        edge_dim: Width of ``edge_attr``; 0 if there is none.
        norm: ``"batch"`` (statistics for each node type and level), ``"layer"`` or None.
        residual: Whether the mean state along the relation ``self`` is added to :math:`h_v` if it has the same width
            (He et al., "Deep Residual Learning for Image Recognition", 2016). Explainers do not see it as a message.
        fused: Whether to compute with gathers and matrix products instead of ``message`` and ``aggregate``. The results
            are the same; explainers always use the latter.

    Shapes:
        - **x**: ``[num_nodes, >= max(in_channels)]``, in the dtype of the weights
        - **plan**: the graph's plan, made by :meth:`plan`
        - **edge_attr**: ``[num_edges, edge_dim]``, in the dtype of the weights, if ``edge_dim`` is not 0
        - **output**: for each generation of the plan, ``[num_nodes, hidden_channels]``; ``plan.by_node`` puts them into
          the order of the nodes

    Raises:
        ValueError: The metadata or a setting is invalid; or ``x`` or ``edge_attr`` does not fit the plan.

    Example:
        >>> dag = DagNN((["n"], [("n", "to", "n")]), in_channels=1, hidden_channels=4)
        >>> plan = dag.plan(torch.tensor([[0, 1], [1, 2]]), torch.tensor([0, 0]), num_nodes=3)
        >>> plan.by_node(dag(torch.ones(3, 1), plan)).shape
        torch.Size([3, 4])
    """

    def __init__(
        self,
        metadata: tuple[Sequence[str], Sequence[EdgeType]],
        in_channels: int | Sequence[int],
        hidden_channels: int | Sequence[int],
        *,
        edge_dim: int = 0,
        norm: str | None = "batch",
        residual: bool = False,
        fused: bool = True,
    ) -> None:
        super().__init__(aggr=None)
        self.vocabulary = vocabulary = EdgeVocabulary(metadata)
        if edge_dim < 0:
            raise ValueError(f"edge_dim: expected a non-negative integer, got {edge_dim}")
        if norm not in NORMS:
            raise ValueError(f"norm: expected one of {NORMS}, got {norm!r}")
        self.in_channels = _for_each_type("in_channels", in_channels, vocabulary.node_types, minimum=0)
        self.hidden_channels = _for_each_type("hidden_channels", hidden_channels, vocabulary.node_types, minimum=1)
        self.out_channels = max(self.hidden_channels)
        self.edge_dim, self.residual, self.fused = edge_dim, residual, fused
        # The number of the relation ITSELF for each pair of equally wide node types that has it.
        self._itself = {
            name: vocabulary.relations[name].index(ITSELF)
            for name, ends in vocabulary.ends_of_pair.items()
            if residual and ITSELF in vocabulary.relations[name] and len({self.hidden_channels[i] for i in ends}) == 1
        }

        self.weight, self.edge_weight = nn.ParameterDict(), nn.ParameterDict()
        self.input_weight, self.bias = nn.ParameterDict(), nn.ParameterDict()
        self.norm = nn.ModuleDict()
        for name, ends in vocabulary.ends_of_pair.items():
            num_relations = len(vocabulary.relations[name])
            fan_in, fan_out = (self.hidden_channels[end] for end in ends)
            self.weight[name] = nn.Parameter(torch.empty(num_relations, fan_in, fan_out))
            if edge_dim > 0:
                self.edge_weight[name] = nn.Parameter(torch.empty(num_relations, edge_dim, fan_out))
        for name, fan_in, fan_out in zip(vocabulary.node_types, self.in_channels, self.hidden_channels, strict=True):
            if fan_in > 0:
                self.input_weight[name] = nn.Parameter(torch.empty(fan_in, fan_out))
            if norm is None:
                self.bias[name] = nn.Parameter(torch.empty(fan_out))
            else:
                self.norm[name] = GroupedBatchNormReLU(fan_out) if norm == "batch" else nn.LayerNorm(fan_out)
        self.register_load_state_dict_pre_hook(align_by_name)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Initialises all weights uniformly, so that variances are preserved (He et al., 2015)."""
        for weights in (self.weight, self.edge_weight, self.input_weight):
            for weight in weights.values():
                bound = (6 / weight.shape[:-1].numel()) ** 0.5
                nn.init.uniform_(weight, -bound, bound)
        for bias in self.bias.values():
            nn.init.zeros_(bias)
        for norm in self.norm.values():
            assert isinstance(norm, GroupedBatchNormReLU | nn.LayerNorm)
            norm.reset_parameters()

    def plan(self, edge_index: Tensor, edge_type: Tensor, *fields: Any, **options: Any) -> Plan:
        """Plans a sweep over a graph or a batch of graphs; see :func:`grapheme_pyg.nn.planning.make_plan`."""
        options = {"number_edges": self._numbers_edges} | options
        return make_plan(self.vocabulary, edge_index, edge_type, *fields, **options)

    @property
    def _numbers_edges(self) -> bool:
        """Whether single edges are needed, for their attributes or messages."""
        return self.edge_dim > 0 or not self.fused or bool(self.explain)

    def forward(self, x: Tensor, plan: Plan, edge_attr: Tensor | None = None) -> list[Tensor]:
        """Computes states; see the class for arguments and shapes."""
        self._require_fitting(x, plan, edge_attr)
        return self.sweep(x, plan.generations, edge_attr)

    def sweep(
        self, x: Tensor | Sequence[Tensor], generations: Sequence[Generation], edge_attr: Tensor | None = None
    ) -> list[Tensor]:
        """Computes the states of all generations, without checks.

        Args:
            x: As in the class; or, as in exported models, ``[num_nodes, in_channels]`` for each generation.
            generations: Those of a plan.
            edge_attr: As in the class.
        """
        seen: dict[str, list[Statistics]] = {name: [] for name in self.norm}
        like = x if isinstance(x, Tensor) else x[0]
        # Converted once, not for each generation.
        x = in_autocast(x) if isinstance(x, Tensor) else x
        states: list[Tensor] = []
        for number, generation in enumerate(generations):
            name = self.vocabulary.node_types[generation.node_type]
            received = [
                self._receive(_together(states, read.generations), read, edge_attr) for read in generation.sources
            ]
            if name in self.input_weight:
                own = self.input_weight[name]
                received.append(own_conv(x, own, generation.nodes) if isinstance(x, Tensor) else x[number] @ own)
            if not received:
                width = self.hidden_channels[generation.node_type]
                received.append(like.new_zeros(generation.num_nodes, width))
            state = received[0]
            for more in received[1:]:
                state = state + more
            if name not in self.norm:
                state = F.relu(state + self.bias[name])
            elif isinstance(self.norm[name], GroupedBatchNormReLU):
                state = self.norm[name](state, seen[name])
            else:
                state = F.relu(self.norm[name](state))
            for read in generation.sources:
                if read.pair in self._itself:
                    before = _together(states, read.generations)
                    state = state + one_relation(before, read, self._itself[read.pair])
            states.append(state)
        for name, norm in self.norm.items():
            if isinstance(norm, GroupedBatchNormReLU):
                norm.update(seen[name])
        return states

    def _receive(self, x: Tensor, read: Neighbours, edge_attr: Tensor | None) -> Tensor:
        """Computes what a generation receives from one node type, ``[num_targets, out_channels]``."""
        weight = self.weight[read.pair]
        edge_weight = self.edge_weight[read.pair] if edge_attr is not None and self.edge_dim else None
        if self.fused and not self.explain:
            return typed_conv(x, weight, read, edge_attr, edge_weight)
        # Edge by edge, because explainers mask messages.
        edge, source, slot = read.by_edge()
        num_targets, num_relations = read.rows.shape
        attr = None if edge_weight is None or edge_attr is None else edge_attr[edge]
        ends = torch.stack([source, slot // num_relations])
        size = (x.shape[0], num_targets)
        means = self.propagate(
            ends, x=(x, None), edge_attr=attr, edge=edge, slot=slot, num_slots=read.rows.numel(), size=size
        )
        if edge_weight is not None:
            weight = torch.cat([weight, edge_weight], dim=1)
        received: Tensor = means.view(num_targets, weight.shape[:2].numel()) @ weight.flatten(0, 1)
        return received

    def _require_fitting(self, x: Tensor, plan: Plan, edge_attr: Tensor | None) -> None:
        """Checks that features fit the plan and the weights."""
        check_device("x", x, self)
        width = max(self.in_channels)
        if x.dim() != 2 or x.shape[0] != plan.num_nodes or x.shape[1] < width:
            expected = f"[{plan.num_nodes}, at least {width}], one row for each node of the plan"
            raise GraphError(f"x: expected shape {expected}, got {list(x.shape)}")
        # Explainers add a parameter of their own, in float32.
        dtype = next((weight.dtype for name, weight in self.named_parameters() if name != "_edge_mask"))
        if x.dtype != dtype:
            raise GraphError(f"x: expected dtype {dtype}, like the weights, got {x.dtype}")
        if plan.device != x.device:
            raise GraphError(f"plan: expected one on {x.device}, as x is, got one on {plan.device}; see Plan.to")
        if self._numbers_edges and plan.num_edges > 0 and plan.tables.sweep.edges.numel() == 0:
            raise GraphError("plan: expected one whose edges are numbered, as this network's plan() makes it")
        if self.edge_dim == 0:
            return
        shape = [plan.num_edges, self.edge_dim]
        if edge_attr is None or list(edge_attr.shape) != shape or edge_attr.dtype != dtype:
            came = None if edge_attr is None else f"{edge_attr.dtype} of shape {list(edge_attr.shape)}"
            raise GraphError(f"edge_attr: expected {dtype} of shape {shape}, got {came}")
        if edge_attr.device != x.device:
            raise GraphError(f"edge_attr: expected device {x.device}, like x, got {edge_attr.device}")

    def _set_jittable_templates(self, raise_on_error: bool = False) -> None:
        """Does nothing: PyG would write a module for ``propagate`` into the temporary folder and leave it there."""

    def message(self, x_j: Tensor, edge_attr: OptTensor) -> Tensor:
        """Returns the source's state and the edge's attributes; weights are applied to their means."""
        return x_j if edge_attr is None else torch.cat([x_j, edge_attr], dim=-1)

    def aggregate(self, inputs: Tensor, slot: Tensor, num_slots: int) -> Tensor:
        """Averages within each relation, ``[num_targets · num_relations, channels]``; 0 where there is no edge."""
        means: Tensor = segment(inputs, index2ptr(slot, num_slots), reduce="mean")
        return means

    def explain_message(self, inputs: Tensor, edge: Tensor) -> Tensor:
        """Multiplies messages by an explainer's mask over the edges of the whole graph."""
        mask = self._edge_mask.sigmoid() if self._apply_sigmoid else self._edge_mask
        weighed: Tensor = inputs * mask[edge].unsqueeze(-1)
        return weighed

    def get_extra_state(self) -> RelationNames:
        """Returns the names of the relations along the first dimension of each weight."""
        return {pair: list(names) for pair, names in self.vocabulary.relations.items()}

    def set_extra_state(self, state: RelationNames) -> None:
        """Does nothing: :func:`align_by_name` has used the names before."""

    def __repr__(self) -> str:
        counts = f"{len(self.vocabulary.node_types)} node types, {len(self.vocabulary.edge_types)} edge types"
        return f"{type(self).__name__}({counts}, hidden_channels={self.hidden_channels})"


def _together(states: Sequence[Tensor], generations: Sequence[int]) -> Tensor:
    chosen = [states[number] for number in generations]
    return chosen[0] if len(chosen) == 1 else torch.cat(chosen)


def _for_each_type(name: str, value: int | Sequence[int], node_types: list[str], *, minimum: int) -> list[int]:
    values = list(value) if isinstance(value, Sequence) else [value] * len(node_types)
    if len(values) != len(node_types):
        raise ValueError(f"{name}: expected one number, or {len(node_types)} of at least {minimum}, got {value}")
    return [as_int(name, one, minimum) for one in values]
