"""Random typed DAGs and a slow, obvious DagNN to hold the fast one against."""

import torch
from torch import Tensor, nn

from grapheme_pyg.nn import DagNN
from grapheme_pyg.nn.plan import pad_channels

NODE_TYPES = ["a", "b", "c"]
# Relations within a type, between types, and two types with several relations each.
EDGE_TYPES = [
    ("a", "left_of", "a"),
    ("a", "up", "b"),
    ("a", "right_of", "a"),
    ("b", "up", "c"),
    ("a", "skip", "c"),
    ("b", "near", "b"),
    ("c", "back", "a"),
    ("b", "far", "b"),
]
METADATA = (NODE_TYPES, EDGE_TYPES)


def random_dag(num_nodes: int, num_edges: int, seed: int) -> dict[str, Tensor]:
    """A random typed DAG without ``level``: skipping edges, parallel edges, isolated nodes."""
    generator = torch.Generator().manual_seed(seed)
    node_type = torch.randint(3, (num_nodes,), generator=generator)
    order = torch.randperm(num_nodes, generator=generator)
    edges = []
    while len(edges) < num_edges:
        i, j = sorted(torch.randint(num_nodes, (2,), generator=generator).tolist())
        source, target = int(order[i]), int(order[j])
        ends = (NODE_TYPES[node_type[source]], NODE_TYPES[node_type[target]])
        fitting = [t for t, (s, _, d) in enumerate(EDGE_TYPES) if (s, d) == ends]
        if i < j and fitting:
            pick = int(torch.randint(len(fitting), (1,), generator=generator))
            edges.append((source, target, fitting[pick]))
        elif not fitting:
            num_edges -= 1  # some pairs of types have no relation: fewer edges, but always an end
    table = torch.tensor(edges, dtype=torch.int64).view(-1, 3)
    return {
        "x": torch.randn(num_nodes, 5, generator=generator, dtype=torch.float64),
        "edge_index": table[:, :2].t().contiguous(),
        "edge_type": table[:, 2].contiguous(),
        "node_type": node_type,
        "edge_attr": torch.randn(len(table), 3, generator=generator, dtype=torch.float64),
    }


def states_of(
    model: DagNN,
    x: Tensor,
    edge_index: Tensor,
    edge_type: Tensor,
    *fields: Tensor,
    edge_attr: Tensor | None = None,
    **named: Tensor,
) -> Tensor:
    """Plans and computes: the states of all nodes in their order, ``[num_nodes, out_channels]``."""
    plan = model.plan(edge_index, edge_type, *fields, **named, num_nodes=x.shape[0])
    return pad_channels(plan.by_node(model(x, plan, edge_attr)), model.out_channels)


def node_by_node(model: DagNN, graph: dict[str, Tensor]) -> Tensor:
    """The formula of DagNN, one node and one edge at a time, in evaluation mode."""
    num_nodes = graph["x"].shape[0]
    edges = list(zip(*graph["edge_index"].tolist(), graph["edge_type"].tolist(), strict=True))
    states: dict[int, Tensor] = {}
    while len(states) < num_nodes:
        for v in range(num_nodes):
            incoming = [(i, u, r) for i, (u, w, r) in enumerate(edges) if w == v]
            if v in states or any(u not in states for _, u, _ in incoming):
                continue
            kind = model.vocabulary.node_types[graph["node_type"][v]]
            total = torch.zeros(model.hidden_channels[graph["node_type"][v]], dtype=torch.float64)
            if kind in model.input_weight:
                weight = model.input_weight[kind]
                total = total + graph["x"][v, : weight.shape[0]] @ weight
            for relation in {r for _, _, r in incoming}:
                source, name, target = model.vocabulary.edge_types[relation]
                row = model.vocabulary.relations[f"{source}__{target}"].index(name)
                messages = []
                for i, u, r in incoming:
                    if r == relation:
                        message = states[u] @ model.weight[f"{source}__{target}"][row]
                        if model.edge_dim:
                            message = message + graph["edge_attr"][i] @ model.edge_weight[f"{source}__{target}"][row]
                        messages.append(message)
                total = total + torch.stack(messages).mean(dim=0)
            states[v] = _normalised(model, kind, total).relu()
    padded = torch.zeros(num_nodes, model.out_channels, dtype=torch.float64)
    for v, state in states.items():
        padded[v, : len(state)] = state
    return padded


def _normalised(model: DagNN, kind: str, state: Tensor) -> Tensor:
    if kind in model.bias:
        return state + model.bias[kind]
    norm = model.norm[kind]
    if isinstance(norm, nn.LayerNorm):
        return norm(state)
    return (state - norm.running_mean) / (norm.running_var + norm.eps).sqrt() * norm.weight + norm.bias
