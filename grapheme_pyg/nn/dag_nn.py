"""DagNN: node states of any typed directed acyclic graph, generation by generation."""

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.distributed import ProcessGroup
from torch_geometric.index import index2ptr
from torch_geometric.nn import MessagePassing
from torch_geometric.typing import EdgeType, OptTensor
from torch_geometric.utils import segment

from grapheme_pyg.checks import as_int
from grapheme_pyg.dag import check_integers, check_range
from grapheme_pyg.nn.graph_checks import check_device
from grapheme_pyg.nn.graph_input import GraphFields, GraphInput
from grapheme_pyg.nn.joint_norm import JointNorms
from grapheme_pyg.nn.neighbours import NeighbourTable
from grapheme_pyg.nn.norm import GroupedBatchNormReLU
from grapheme_pyg.nn.slots import EdgeBlock
from grapheme_pyg.nn.states import source_states, states_of_nodes
from grapheme_pyg.nn.sweep import plan_sweep
from grapheme_pyg.nn.typed_conv import typed_conv
from grapheme_pyg.nn.vocabulary import EdgeVocabulary, RelationNames
from grapheme_pyg.nn.weight_names import align_by_name

NORMS = ("batch", "layer", None)


class DagNN(MessagePassing):
    r"""A feed-forward network whose shape is the graph's and whose weights are keyed by edge type.

    .. math::
        h_v = \operatorname{relu}\Bigl(\operatorname{norm}\Bigl(W^{in}_{\tau(v)} x_v + \sum_r
              \operatorname{mean}_{(u \to v) \text{ of type } r} (W_r h_u + V_r e_{uv})\Bigr)\Bigr)

    Every state is computed once, from states already computed: level by level in topological order. The
    weights are the module's and not the graph's, so what is learned on one topology holds on every other. The
    mean within a relation bounds states at nodes of high degree; on a lattice, where a relation has one edge
    into a node at most, the operator is a convolution. It runs on any typed DAG: several edges of a type into
    one node, edges that skip levels or stay within a node type, isolated nodes, no edges at all.

    The weights of all relations between one pair of node types are one parameter ``[num_relations, in, out]``
    under ``weight.<source>__<target>``. The state dict also holds the relations' names, and loading matches by
    name: a state dict of another vocabulary loads with ``strict=False`` as far as the names agree.

    Args:
        metadata: Names of node types and triples (source node type, relation, target node type), all in
            ``[a-z0-9_]+``, as in PyG's ``HeteroData.metadata()``.
        in_channels: How many leading columns of ``x`` a node uses: one number, or one for each node type.
        hidden_channels: Width of the states: one number, or one for each node type.
        edge_dim: Width of ``edge_attr``, 0 to use none.
        norm: ``"batch"`` (statistics for each node type and level), ``"layer"`` or None.
        fused: Whether to use gathers and matrix products instead of ``message`` and ``aggregate``. Both compute
            the same; explainers switch to the latter by themselves.

    Shapes:
        - **x**: ``[num_nodes, >= max(in_channels)]``, of the weights' dtype
        - **edge_index**: ``[2, num_edges]`` int64, source → target
        - **edge_type**: ``[num_edges]`` int64, index into the edge types
        - **node_type**: ``[num_nodes]`` int64; optional if there is one node type
        - **level**: ``[num_nodes]`` int64, rising along every edge; computed if None
        - **edge_attr**: ``[num_edges, edge_dim]``, if ``edge_dim`` is not 0
        - **checked**: whether ``input.check`` has returned just these fields
        - **nodes**: ``[num_chosen]`` int64, the nodes whose states to return; all if None; or a list of such choices
        - **output**: ``[num_chosen, out_channels]``, narrower states zero-padded; or a list, of which each is as wide
          as the widest state in it

    Attributes:
        process_group: Processes of which each has some graphs of every batch: training takes batch statistics over all
            of them, which call it together. None if each batch is this process's own. Not saved.

    Raises:
        ValueError: The metadata, the graph or its dtypes are not as above; :class:`grapheme_pyg.dag.CycleError`,
            a ValueError too, names the nodes of a cycle.
    """

    def __init__(
        self,
        metadata: tuple[Sequence[str], Sequence[EdgeType]],
        in_channels: int | Sequence[int],
        hidden_channels: int | Sequence[int],
        *,
        edge_dim: int = 0,
        norm: str | None = "batch",
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
        self.edge_dim, self.fused = edge_dim, fused
        self.input = GraphInput(vocabulary, max(self.in_channels), edge_dim)
        self.process_group: ProcessGroup | None = None

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
        """Draws all weights anew, uniformly and such that variances are kept (He et al., 2015)."""
        for weights in (self.weight, self.edge_weight, self.input_weight):
            for weight in weights.values():
                bound = (6 / weight.shape[:-1].numel()) ** 0.5
                nn.init.uniform_(weight, -bound, bound)
        for bias in self.bias.values():
            nn.init.zeros_(bias)
        for norm in self.norm.values():
            assert isinstance(norm, GroupedBatchNormReLU | nn.LayerNorm)
            norm.reset_parameters()

    def forward(
        self,
        x: Tensor,
        edge_index: Tensor,
        edge_type: Tensor,
        node_type: Tensor | None = None,
        level: Tensor | None = None,
        edge_attr: Tensor | None = None,
        nodes: Tensor | Sequence[Tensor] | None = None,
        *,
        checked: bool = False,
    ) -> Tensor | list[Tensor]:
        """Computes states; see the class for arguments and shapes."""
        check_device("x", x, self)
        if not checked:
            # An explainer adds a parameter of its own, which is float32.
            dtype = next(weight.dtype for name, weight in self.named_parameters() if name != "_edge_mask")
            graph = self.input.check(GraphFields(x, edge_index, edge_type, node_type, level, edge_attr), dtype)
            node_type, level = graph.node_type, graph.level
        assert node_type is not None, "checked: expected node_type as `input.check` returned it"
        assert level is not None, "checked: expected level as `input.check` returned it"
        for choice in [nodes] if isinstance(nodes, Tensor) else nodes or []:
            check_integers("nodes", choice, tuple(choice.shape))
            check_range("nodes", "position", choice, x.shape[0], ValueError)
        sweep = plan_sweep(edge_index, edge_type, node_type, level, self.vocabulary)
        batch_norms = [norm for norm in self.norm.values() if isinstance(norm, GroupedBatchNormReLU)]
        for norm in batch_norms:
            norm.start()
        joint = None
        if self.process_group is not None and self.training and batch_norms:
            joint = JointNorms(sweep.groups, batch_norms, self.process_group)
        if self.fused and torch.is_autocast_enabled(x.device.type):
            # Once for all groups that read it.
            x = x.to(torch.get_autocast_dtype(x.device.type))
        states: list[Tensor] = []
        for group in sweep.groups:
            name = self.vocabulary.node_types[group.node_type]
            received = [self._receive(source_states(states, block), block, edge_attr) for block in group.blocks]
            if name in self.input_weight:
                weight = self.input_weight[name]
                features = x[:, : weight.shape[0]]
                own = NeighbourTable((group.nodes[:, None] + 1).int(), x.shape[0])
                received.append(typed_conv(features, weight[None], own))
            if not received:
                received.append(x.new_zeros(group.nodes.numel(), self.hidden_channels[group.node_type]))
            state = received[0]
            for more in received[1:]:
                state += more
            if name not in self.norm:
                state = F.relu_(state + self.bias[name])
            elif joint is not None:
                state = joint.normalise(state, group)
            elif isinstance(self.norm[name], GroupedBatchNormReLU):
                state = self.norm[name](state)
            else:
                state = F.relu_(self.norm[name](state))
            states.append(state)
        if nodes is None or isinstance(nodes, Tensor):
            chosen = [states_of_nodes(states, sweep, nodes, like=x, width=self.out_channels)]
        else:
            chosen = [states_of_nodes(states, sweep, choice, like=x) for choice in nodes]
        if joint is not None:
            chosen = joint.finish(x, chosen)
        for norm in batch_norms:
            norm.update()
        return chosen[0] if nodes is None or isinstance(nodes, Tensor) else chosen

    def _receive(self, x: Tensor, block: EdgeBlock, edge_attr: Tensor | None) -> Tensor:
        """What the targets of a block receive, ``[num_targets, out_channels]``."""
        name = self.vocabulary.pairs[block.pair]
        if edge_attr is not None and name not in self.edge_weight:
            edge_attr = None
        if self.fused and not self.explain:
            out = typed_conv(x, self.weight[name], block.neighbours)
            if edge_attr is not None:
                out = out + typed_conv(edge_attr, self.edge_weight[name], block.edges)
            return out
        attr = None if edge_attr is None else edge_attr[block.edge]
        ends = torch.stack([block.source, block.slot // block.num_relations])
        size = (block.num_sources, block.num_targets)
        means = self.propagate(ends, x=(x, None), edge_attr=attr, block=block, size=size)
        weight = self.weight[name]
        if attr is not None:
            weight = torch.cat([weight, self.edge_weight[name]], dim=1)
        received: Tensor = means.view(block.num_targets, -1) @ weight.flatten(0, 1)
        return received

    def message(self, x_j: Tensor, edge_attr: OptTensor) -> Tensor:
        """The source's state and the edge's attributes; weights come after the mean, once for each relation."""
        return x_j if edge_attr is None else torch.cat([x_j, edge_attr], dim=-1)

    def aggregate(self, inputs: Tensor, block: Any) -> Tensor:
        """Means within each relation, ``[num_targets · num_relations, channels]``; 0 where there is no edge."""
        pointer = index2ptr(block.slot, block.num_targets * block.num_relations)
        means: Tensor = segment(inputs, pointer, reduce="mean")
        return means

    def explain_message(self, inputs: Tensor, block: Any) -> Tensor:
        """Weighs messages by an explainer's mask over the edges of the whole graph."""
        mask = self._edge_mask.sigmoid() if self._apply_sigmoid else self._edge_mask
        weighed: Tensor = inputs * mask[block.edge].unsqueeze(-1)
        return weighed

    def get_extra_state(self) -> RelationNames:
        """Names of the relations along the first dimension of each weight."""
        return {pair: list(names) for pair, names in self.vocabulary.relations.items()}

    def set_extra_state(self, state: RelationNames) -> None:
        """Does nothing: the names have done their work when weights were matched by them."""

    def __repr__(self) -> str:
        counts = f"{len(self.vocabulary.node_types)} node types, {len(self.vocabulary.edge_types)} edge types"
        return f"{type(self).__name__}({counts}, hidden_channels={self.hidden_channels})"


def _for_each_type(name: str, value: int | Sequence[int], node_types: list[str], *, minimum: int) -> list[int]:
    values = list(value) if isinstance(value, Sequence) else [value] * len(node_types)
    if len(values) != len(node_types):
        raise ValueError(f"{name}: expected one number, or {len(node_types)} of at least {minimum}, got {value}")
    return [as_int(name, one, minimum) for one in values]
