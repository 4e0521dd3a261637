"""The checks pass what is right and fail what is wrong."""

import pytest
import torch
from torch import Tensor
from torch_geometric.data import Batch
from torch_geometric.nn import RGCNConv, global_add_pool

from grapheme_pyg import ImageClassificationModel, VisionBrain
from grapheme_pyg.testing import check_batching, check_graph, check_order_invariance
from grapheme_pyg.vision import ImageGraph


@pytest.fixture
def graphs() -> list[ImageGraph]:
    generator = torch.Generator().manual_seed(0)
    vision = VisionBrain(edge_attr=True)
    return [vision(torch.rand(size, generator=generator)) for size in ((12, 12), (28, 28), (3, 40))]


def pooled(batch: Batch, values: Tensor) -> Tensor:
    return global_add_pool(values, batch.batch, batch.num_graphs)


def test_right_models_pass(graphs: list[ImageGraph]) -> None:
    ours = ImageClassificationModel(VisionBrain(edge_attr=True), hidden_channels=(4, 5, 6)).eval()
    conv = RGCNConv(ours.vision.num_features, 3, len(ours.vision.metadata[1]))

    def rgcn(batch: Batch) -> Tensor:
        return pooled(batch, conv(batch.x, batch.edge_index, batch.edge_type))

    for model in (ours, rgcn):
        check_batching(model, graphs, atol=1e-4)
        check_order_invariance(model, graphs[0], atol=1e-4)


def test_a_model_that_mixes_graphs_fails(graphs: list[ImageGraph]) -> None:
    with pytest.raises(AssertionError):
        check_batching(lambda batch: pooled(batch, batch.x - batch.x.mean(dim=0)), graphs)


def test_a_model_that_counts_nodes_fails(graphs: list[ImageGraph]) -> None:
    with pytest.raises(AssertionError):
        check_order_invariance(lambda batch: pooled(batch, batch.x * torch.arange(len(batch.x))[:, None]), graphs[0])


def test_a_model_that_counts_edges_fails(graphs: list[ImageGraph]) -> None:
    def model(batch: Batch) -> Tensor:
        return (batch.edge_attr * torch.arange(len(batch.edge_attr))[:, None]).sum(dim=0, keepdim=True)

    with pytest.raises(AssertionError):
        check_order_invariance(model, graphs[0])


def test_graphs(graphs: list[ImageGraph]) -> None:
    metadata = VisionBrain().metadata
    for graph in graphs:
        check_graph(graph, metadata)

    graph = graphs[0].clone()
    graph.edge_index = graph.edge_index.flip(0)
    with pytest.raises(ValueError, match="edge_type: expected edge 0 of type"):
        check_graph(graph, metadata)

    graph = graphs[0].clone()
    graph.edge_index, graph.edge_type = graph.edge_index.flip(1), graph.edge_type.flip(0)
    with pytest.raises(AssertionError, match="edges sorted by"):
        check_graph(graph, metadata)

    graph = graphs[0].clone()
    graph.x[0, 0] = float("nan")
    with pytest.raises(AssertionError, match="x: expected finite values"):
        check_graph(graph, metadata)

    graph = graphs[0].clone()
    graph.edge_index, graph.edge_type = graph.edge_index[:, :0], graph.edge_type[:0]
    graph.level = graph.level.flip(0)
    with pytest.raises(AssertionError, match="nodes sorted by level"):
        check_graph(graph, metadata)
