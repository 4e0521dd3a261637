"""Minutes of training on a few thousand real digits: does it learn, and is it the graph that knows?"""

import pytest
import torch
from torch_geometric.data import Batch
from typed_graphs import states_of

from grapheme_pyg import ImageClassificationModel, TrainingSettings, VisionBrain, fit
from grapheme_pyg.augmentation.dropping import pooled_nodes
from grapheme_pyg.datasets import Split
from grapheme_pyg.nn.plan import Chosen

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def trained(digits: tuple[Split, Split]) -> ImageClassificationModel:
    torch.manual_seed(0)
    model = ImageClassificationModel(VisionBrain())
    images, labels = digits[0]
    metrics = fit(
        model, images[:4000], labels[:4000], settings=TrainingSettings(epochs=12, batch_size=64), verbose=False
    )
    assert metrics[-1]["train_loss"] < 0.3 * metrics[0]["train_loss"]
    return model


@pytest.fixture(scope="module")
def test_graphs(trained: ImageClassificationModel, digits: tuple[Split, Split]) -> Batch:
    images, labels = digits[1]
    return trained.vision.batch(images[:1000], labels[:1000])


@torch.no_grad()
def accuracy(model: ImageClassificationModel, graphs: Batch) -> float:
    return (model(graphs).argmax(dim=1) == graphs.y).float().mean().item()


def test_accuracy(trained: ImageClassificationModel, test_graphs: Batch) -> None:
    assert accuracy(trained, test_graphs) >= 0.965


def test_permuted_edge_types_cost_accuracy(trained: ImageClassificationModel, test_graphs: Batch) -> None:
    # Within each pair of node types, so that the graphs stay valid: relations are relabelled at random.
    graphs = test_graphs.clone()
    relabelled = torch.arange(len(trained.dag.vocabulary.edge_types))
    pairs = torch.tensor(trained.dag.vocabulary.pair_of_type)
    for pair in pairs.unique():
        members = (pairs == pair).nonzero().flatten()
        relabelled[members] = members[torch.randperm(len(members), generator=torch.Generator().manual_seed(1))]
    graphs.edge_type = relabelled[graphs.edge_type]
    assert accuracy(trained, graphs) <= accuracy(trained, test_graphs) - 0.2


def test_removed_edges_cost_accuracy(trained: ImageClassificationModel, test_graphs: Batch) -> None:
    # The readout still sees the nodes that were sinks, not every node that has lost its edges.
    nodes = pooled_nodes(trained, test_graphs)
    chosen = [Chosen.of(test_graphs.batch[some], test_graphs.num_graphs) for some in nodes]
    with torch.no_grad():
        empty = torch.zeros(2, 0, dtype=torch.int64)
        states = states_of(trained.dag, test_graphs.x, empty, empty[0], test_graphs.node_type, test_graphs.level)
        widths = trained.classifier.in_channels
        pooled = [states[some, :width] for some, width in zip(nodes, widths, strict=True)]
        logits = trained.classifier(pooled, chosen)
    without = (logits.argmax(dim=1) == test_graphs.y).float().mean().item()
    assert without <= accuracy(trained, test_graphs) - 0.2

    graphs = test_graphs.clone()
    graphs.edge_index, graphs.edge_type = empty, empty[0]
    assert accuracy(trained, graphs) <= accuracy(trained, test_graphs) - 0.2
