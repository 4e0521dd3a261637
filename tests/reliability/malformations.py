"""Ways in which a graph can be wrong, and what the error must say of each."""

import random
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

Fields = dict[str, Any]
# Spoils the fields of a batch in place; returns the start of the error's message, and what else it must name.
Malformation = Callable[[Fields, random.Random], list[str]]

INTEGERS = ("edge_index", "edge_type", "node_type", "level", "batch")
OF_NODES = ("node_type", "level", "batch")


def cycle(fields: Fields, rng: random.Random) -> list[str]:
    """The edges of a path of one to three edges, and one back to where it started; levels are not known."""
    source, target = fields["edge_index"].tolist()
    edge = rng.randrange(len(source))
    nodes, edges = [source[edge], target[edge]], {target[i]: i for i in range(len(source))}
    while nodes[0] in edges and rng.random() < 0.5:
        nodes.insert(0, source[edges[nodes[0]]])
    add_edge(fields, nodes[-1], nodes[0], fields["edge_type"][edge])
    fields["level"] = None
    return ["edge_index", "at edge ", "cycle "]


def self_loop(fields: Fields, rng: random.Random) -> list[str]:
    node = rng.randrange(len(fields["x"]))
    add_edge(fields, node, node, fields["edge_type"][0])
    fields["level"] = None
    return ["edge_index", f"at edge {fields['edge_type'].numel() - 1}", f"cycle {node} → {node}"]


def negative_index(fields: Fields, rng: random.Random) -> list[str]:
    return _spoil(fields, "edge_index", -rng.choice([1, 2, 10**6, 2**62]), len(fields["x"]), rng)


def dangling_index(fields: Fields, rng: random.Random) -> list[str]:
    number = len(fields["x"])
    return _spoil(fields, "edge_index", number + rng.choice([0, 1, 10**6, 2**62]), number, rng)


def edge_type_out_of_range(fields: Fields, rng: random.Random) -> list[str]:
    size = len(fields["endpoints"][0])
    return _spoil(fields, "edge_type", rng.choice([-1, -size, size, size + 1, 2**40]), size, rng)


def node_type_out_of_range(fields: Fields, rng: random.Random) -> list[str]:
    size = fields["num_node_types"]
    return _spoil(fields, "node_type", rng.choice([-1, -size, size, size + 1, 2**40]), size, rng)


def edge_type_of_other_nodes(fields: Fields, rng: random.Random) -> list[str]:
    edge = rng.randrange(fields["edge_type"].numel())
    ends = list(zip(*fields["endpoints"], strict=True))
    joined = ends[int(fields["edge_type"][edge])]
    number = rng.choice([i for i, other in enumerate(ends) if other != joined])
    fields["edge_type"][edge] = number
    return [
        "edge_type",
        f"expected edge {edge} of type {number} to join node types {list(ends[number])}, got {list(joined)}",
    ]


def wrong_dtype(fields: Fields, rng: random.Random) -> list[str]:
    name = rng.choice([*INTEGERS, "x", "edge_attr"])
    dtype = rng.choice([torch.int32, torch.bool, torch.uint8] + [torch.float32] * (name in INTEGERS))
    fields[name] = fields[name].to(dtype)
    return [name, str(dtype)]


def wrong_length(fields: Fields, rng: random.Random) -> list[str]:
    name = rng.choice([*OF_NODES, "edge_type", "edge_attr"])
    length = len(fields[name])
    came = rng.choice([0, 1, length - 1, length + 1])
    came = came if came != length else length + 1
    fields[name] = fields[name][[i % length for i in range(came)]]
    return [name, f"{length}", f"[{came}"]


def wrong_shape(fields: Fields, rng: random.Random) -> list[str]:
    name = rng.choice([*INTEGERS, "x", "edge_attr"])
    value = fields[name]
    shapes = [value[None], value[..., None]]
    if name == "edge_index":
        shapes += [value.t() if value.shape[1] != 2 else value[None], value[:1], value.flatten()]
    fields[name] = rng.choice(shapes)
    return [name, f"{list(fields[name].shape)}"]


def too_few_features(fields: Fields, rng: random.Random) -> list[str]:
    width = rng.randrange(fields["num_features"])
    fields["x"] = fields["x"][:, :width]
    return ["x", f"at least {fields['num_features']}", f"{width}]"]


def feature_not_finite(fields: Fields, rng: random.Random) -> list[str]:
    return _spoil_features(fields, "x", "node", rng)


def edge_attr_not_finite(fields: Fields, rng: random.Random) -> list[str]:
    return _spoil_features(fields, "edge_attr", "edge", rng)


def level_out_of_range(fields: Fields, rng: random.Random) -> list[str]:
    return _spoil(fields, "level", rng.choice([-1, -(2**62), 2**31, 2**62, 2**63 - 1]), 2**31, rng)


def level_against_edge(fields: Fields, rng: random.Random) -> list[str]:
    level, (source, target) = fields["level"], fields["edge_index"]
    edge = rng.randrange(len(source))
    level[source[edge]] = level[target[edge]] + rng.choice([0, 0, 1, 100])
    # The change may spoil an edge before this one.
    first = int((level[source] >= level[target]).nonzero()[0])
    ends, levels = (int(source[first]), int(target[first])), (int(level[source[first]]), int(level[target[first]]))
    return ["level", f"got {levels[0]} and {levels[1]} at edge {first} ({ends[0]} → {ends[1]})"]


def batch_that_falls(fields: Fields, rng: random.Random) -> list[str]:
    batch = fields["batch"]
    place = rng.choice(((batch[1:] > 0) & (batch[:-1] == batch[1:])).nonzero().flatten().tolist()) + 1
    batch[place] -= 1
    return ["batch", f"got {int(batch[place])} at node {place}, after {int(batch[place - 1])}"]


def batch_out_of_range(fields: Fields, rng: random.Random) -> list[str]:
    size = fields["num_graphs"]
    return _spoil(fields, "batch", rng.choice([-1, -size, size, 2**40, 2**63 - 1]), size, rng)


def edge_between_graphs(fields: Fields, rng: random.Random) -> list[str]:
    batch, (source, target) = fields["batch"], fields["edge_index"]
    edge = rng.randrange(len(source))
    types, level = fields["node_type"], fields["level"]
    # Another source, of that type and level, in another graph; if there is none, the last node gets its own graph.
    alike = (types == types[source[edge]]) & (level == level[source[edge]]) & (batch != batch[target[edge]])
    if bool(alike.any()):
        fields["edge_index"][0, edge] = rng.choice(alike.nonzero().flatten().tolist())
        graphs = [int(batch[node]) for node in fields["edge_index"][:, edge]]
        return ["edge_index", f"got graphs {graphs[0]} and {graphs[1]} at edge {edge} "]
    batch[-1], fields["num_graphs"] = batch[-1] + 1, fields["num_graphs"] + 1
    edge = int((batch[source] != batch[target]).nonzero()[0])
    return ["edge_index", f"at edge {edge} "]


def missing_field(fields: Fields, rng: random.Random) -> list[str]:
    name = rng.choice(["x", "edge_index", "edge_type", "node_type", "edge_attr", "batch"])
    fields[name] = None
    return [name, "None"]


def no_tensor(fields: Fields, rng: random.Random) -> list[str]:
    name = rng.choice([*INTEGERS, "x", "edge_attr"])
    others = [fields[name].numpy(), "graph", 3, fields[name].to_sparse(), fields[name].to("meta")]
    fields[name] = rng.choice(others)
    return [name if fields["x"] is not others[-1] else ""]


def add_edge(fields: Fields, source: int, target: int, edge_type: Tensor) -> None:
    fields["edge_index"] = torch.cat([fields["edge_index"], torch.tensor([[source], [target]])], dim=1)
    fields["edge_type"] = torch.cat([fields["edge_type"], edge_type.view(1)])
    fields["edge_attr"] = torch.cat([fields["edge_attr"], torch.zeros(1, 3)])


def _spoil(fields: Fields, name: str, value: int, size: int, rng: random.Random) -> list[str]:
    """One number, or two, of which the first is to be named."""
    places = sorted(rng.sample(range(fields[name].shape[-1]), 2))[: rng.choice([1, 2])]
    for place in places:
        column = fields[name][..., place]
        if column.dim():
            column[rng.randrange(2)] = value
        else:
            fields[name][place] = value
    return [name, f"expected values in [0, {size}), got {value} at", f" {places[0]}"]


def _spoil_features(fields: Fields, name: str, what: str, rng: random.Random) -> list[str]:
    row, column = rng.randrange(fields[name].shape[0]), rng.randrange(fields[name].shape[1])
    fields[name][row, column] = rng.choice([torch.nan, torch.inf, -torch.inf])
    return [name, f"{float(fields[name][row, column])} at {what} {row}, column {column}"]


MALFORMATIONS: tuple[Malformation, ...] = (
    cycle,
    self_loop,
    negative_index,
    dangling_index,
    edge_type_out_of_range,
    node_type_out_of_range,
    edge_type_of_other_nodes,
    wrong_dtype,
    wrong_length,
    wrong_shape,
    too_few_features,
    feature_not_finite,
    edge_attr_not_finite,
    level_out_of_range,
    level_against_edge,
    batch_that_falls,
    batch_out_of_range,
    edge_between_graphs,
    missing_field,
    no_tensor,
)
