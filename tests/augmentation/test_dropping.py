"""Graphs that lack cells or edges."""

import pytest
import torch
from torch import Tensor
from torch_geometric.data import Batch
from typed_graphs import states_of

from grapheme_pyg import ImageClassificationModel, VisionBrain
from grapheme_pyg.augmentation import RandomDropping
from grapheme_pyg.augmentation.dropping import drop_edges, drop_nodes
from grapheme_pyg.dag import sinks
from grapheme_pyg.testing import check_graph

FIELDS = {"x", "pos", "node_type", "level", "edge_index", "edge_type", "edge_attr", "seg", "image_size", "y"}
SHARES = (0.1, 0.2, 0.3, 0.5, 0.7)


@pytest.fixture
def vision() -> VisionBrain:
    # One round of the coarsest cells: they have features of their own, with or without edges.
    return VisionBrain(rounds=(3, 2, 1), edge_attr=True, seg=True)


@pytest.fixture
def batch(vision: VisionBrain, images: Tensor) -> Batch:
    """Three graphs and, in their midst, one of a single node."""
    return vision.batch(torch.cat([images[:2], torch.zeros_like(images[:1]), images[2:]]), y=range(5))


def drop(kind: str, batch: Batch, p: float, vision: VisionBrain, seed: int = 0) -> Batch:
    generator = torch.Generator().manual_seed(seed)
    if kind == "nodes":
        return drop_nodes(batch, p, vision, generator)
    return drop_edges(batch, p, sinks(batch.edge_index, batch.num_nodes), generator)


def nodes_of(batch: Batch) -> set[tuple[float, ...]]:
    """What tells nodes apart, whatever their numbers."""
    return set(map(tuple, torch.cat([batch.batch[:, None], batch.level[:, None], batch.pos], dim=1).tolist()))


def edges_of(batch: Batch) -> set[tuple[float, ...]]:
    node = torch.cat([batch.batch[:, None], batch.level[:, None], batch.pos], dim=1)
    return set(map(tuple, node[batch.edge_index].transpose(0, 1).flatten(1).tolist()))


both = pytest.mark.parametrize("kind", ["nodes", "edges"])


@both
@pytest.mark.parametrize("p", [0.1, 0.5, 0.9, 1.0])
def test_graphs_stay_valid(kind: str, p: float, batch: Batch, vision: VisionBrain) -> None:
    before = batch.clone()
    out = drop(kind, batch, p, vision)
    assert all(torch.equal(batch[name], before[name]) for name in [*FIELDS, "batch", "ptr"])
    graphs = out.to_data_list()
    assert len(graphs) == 5
    for graph in graphs:
        check_graph(graph, vision.metadata)
    # A batch in every respect: what PyG makes of the single graphs.
    again = Batch.from_data_list(graphs)
    assert set(out.keys()) == set(again.keys()) == FIELDS | {"batch", "ptr"}
    for name in again.keys():  # noqa: SIM118
        torch.testing.assert_close(out[name], again[name], rtol=0, atol=0)
    for name in FIELDS:
        assert torch.equal(out._slice_dict[name], again._slice_dict[name]), name
        assert torch.equal(torch.as_tensor(out._inc_dict[name]), torch.as_tensor(again._inc_dict[name])), name
    for graph, original in zip(graphs, before.to_data_list(), strict=True):
        # Pixels point at the node of the same place, and at none if it was dropped.
        there = graph.seg >= 0
        assert torch.equal(graph.pos[graph.seg[there]], original.pos[original.seg[there]])
        assert int((graph.level == 0).sum()) == graph.seg[there].unique().numel()


@both
def test_severities_are_nested_and_the_readout_stays(kind: str, batch: Batch, vision: VisionBrain) -> None:
    read = sinks(batch.edge_index, batch.num_nodes)
    last = batch
    for p in (*SHARES, 1):
        out = drop(kind, batch, p, vision)
        assert nodes_of(out) <= nodes_of(last)
        assert edges_of(out) < edges_of(last)
        left = sinks(out.edge_index, out.num_nodes)
        for name in ("x", "pos", "node_type", "level", "batch"):
            assert torch.equal(out[name][left], batch[name][read])
        last = out
    if kind == "nodes":  # all cells but the finest
        coarse = torch.tensor(vision.node_levels)[batch.node_type] > 0
        assert torch.equal(last.pos, batch.pos[coarse])
        assert last.num_edges > 0
    else:
        assert torch.equal(last.pos, batch.pos[read])
        assert last.num_edges == 0


@pytest.mark.parametrize("p", [0.3, 0.7, 1.0])
def test_dropped_edges_are_as_if_the_first_sinks_alone_were_read(p: float, batch: Batch, vision: VisionBrain) -> None:
    dag = ImageClassificationModel(vision).eval().dag
    kept = torch.rand(batch.num_edges, generator=torch.Generator().manual_seed(5)) >= p
    read = sinks(batch.edge_index, batch.num_nodes)
    fields = (batch.edge_index[:, kept], batch.edge_type[kept], batch.node_type, batch.level)
    expected = states_of(dag, batch.x, *fields, edge_attr=batch.edge_attr[kept])[read]
    out = drop_edges(batch, p, read, torch.Generator().manual_seed(5))
    fields = (out.edge_index, out.edge_type, out.node_type, out.level)
    came = states_of(dag, out.x, *fields, edge_attr=out.edge_attr)[sinks(out.edge_index, out.num_nodes)]
    assert float(expected.detach().std()) > 0.1
    torch.testing.assert_close(came, expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize("mode", ["grid", "blob", "hybrid"])
def test_random_dropping_leaves_valid_graphs_with_their_readout(mode: str, images: Tensor) -> None:
    vision = VisionBrain(mode, detections=mode == "grid")
    batch = vision.batch(torch.cat([images] * 10), y=list(range(40)))
    out = RandomDropping(share=1, nodes=0.5, edges=0.5)(batch, vision, torch.Generator().manual_seed(0))
    lost = 0
    for one, other in zip(out.to_data_list(), batch.to_data_list(), strict=True):
        check_graph(one, vision.metadata)
        assert int(one.y) == int(other.y)
        fewer_nodes, fewer_edges = one.num_nodes < other.num_nodes, one.num_edges < other.num_edges
        assert fewer_edges or not fewer_nodes
        lost += fewer_edges
        # No node has become a sink.
        read, before = (graph.pos[sinks(graph.edge_index, graph.num_nodes)].tolist() for graph in (one, other))
        assert all(place in before for place in read)
        assert len(read) <= len(before)
    assert lost > 15


def test_random_dropping_of_none(images: Tensor) -> None:
    vision = VisionBrain()
    batch = vision.batch(images)
    out = RandomDropping(share=1, nodes=0, edges=0)(batch, vision)
    assert all(torch.equal(out[name], batch[name]) for name in ("x", "edge_index", "edge_type", "ptr"))
