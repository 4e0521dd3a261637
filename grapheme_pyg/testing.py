"""Checks of properties that graphs and models must have, for the tests of users' own modules."""

import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor
from torch_geometric.data import Batch, Data
from torch_geometric.typing import EdgeType

from grapheme_pyg.checks import as_seed
from grapheme_pyg.nn.planning import make_plan
from grapheme_pyg.nn.vocabulary import EdgeVocabulary
from grapheme_pyg.ops.definition import PLAIN

Model = Callable[[Batch], Tensor]


def check_graph(graph: Data, metadata: tuple[Sequence[str], Sequence[EdgeType]]) -> None:
    """Checks that a graph is typed, levelled, acyclic, sorted and finite, as models expect.

    Args:
        graph: A graph with ``x``, ``pos``, ``edge_index``, ``edge_type``, ``node_type`` and ``level``.
        metadata: Names of node types and triples of edge types.

    Raises:
        ValueError: Types, levels or edges contradict one another; the message names the first that does.
        AssertionError: Nodes are not sorted by level, edges are not sorted by (target, type, source), or a feature is
            not finite.
    """
    fields = graph.edge_index, graph.edge_type, graph.node_type, graph.level
    make_plan(EdgeVocabulary(metadata), *fields, num_nodes=graph.x.shape[0])
    _require(bool((graph.level.diff() >= 0).all()), "level: expected nodes sorted by level")
    source, target = graph.edge_index
    keys = list(zip(target.tolist(), graph.edge_type.tolist(), source.tolist(), strict=True))
    _require(keys == sorted(keys), "edge_index: expected edges sorted by (target, type, source)")
    for name in ("x", "pos"):
        _require(bool(graph[name].isfinite().all()), f"{name}: expected finite values")


def check_batching(model: Model, graphs: Sequence[Data], *, atol: float = 1e-5) -> None:
    """Checks that the graphs of a batch do not influence one another.

    Args:
        model: Function of a batch that returns one row for each graph; in evaluation mode.
        graphs: Several graphs.
        atol: Largest accepted difference.

    Raises:
        AssertionError: A row differs from the result for its graph alone.
    """
    alone = torch.cat([model(Batch.from_data_list([graph])) for graph in graphs])
    torch.testing.assert_close(model(Batch.from_data_list(list(graphs))), alone, rtol=0, atol=atol)


def check_order_invariance(model: Model, graph: Data, *, atol: float = 1e-5, seed: int = 0) -> None:
    """Checks that the order of nodes and edges does not matter.

    Args:
        model: Function of a batch that returns one row for each graph; in evaluation mode.
        graph: A graph of several nodes.
        atol: Largest accepted difference.
        seed: Seed of the renumbering.

    Raises:
        AssertionError: The result for the renumbered graph differs.
    """
    renumbered = renumber(graph, seed)
    expected, came = (model(Batch.from_data_list([data])) for data in (graph, renumbered))
    torch.testing.assert_close(came, expected, rtol=0, atol=atol)


def renumber(graph: Data, seed: int = 0) -> Data:
    """Returns the same graph with its nodes and edges in a random order.

    Args:
        graph: A graph, which is not changed.
        seed: Seed of the order.
    """
    generator = torch.Generator().manual_seed(as_seed(seed))
    nodes = torch.randperm(int(graph.num_nodes or 0), generator=generator)
    edges = torch.randperm(graph.num_edges, generator=generator)
    renumbered = graph.clone()
    for name in graph.keys():  # noqa: SIM118 - iterating over a Data yields pairs
        if graph.is_node_attr(name):
            renumbered[name] = graph[name][nodes]
        elif name != "edge_index" and graph.is_edge_attr(name):
            renumbered[name] = graph[name][edges]
    renumbered.edge_index = nodes.argsort()[graph.edge_index[:, edges]]
    return renumbered


@contextmanager
def plain_operators(*names: str) -> Iterator[None]:
    """Replaces compiled kernels by the plain operators, in all threads.

    Args:
        names: Names of the operators to replace; all if none is given.
    """
    library = torch.library.Library("grapheme", "IMPL")
    with warnings.catch_warnings():
        # PyTorch warns that a kernel is overridden, which is the purpose.
        warnings.simplefilter("ignore")
        for name in names or PLAIN:
            library.impl(name, PLAIN[name], "CPU")
    try:
        yield
    finally:
        library._destroy()


def _require(condition: bool, message: str) -> None:
    if not condition:
        raise AssertionError(message)
