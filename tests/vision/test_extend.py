import json

import networkx as nx
import pytest
import torch
from torch_geometric.data import Batch

from grapheme_pyg.testing import check_graph
from grapheme_pyg.vision import VisionBrain

OPTIONS = {"edge_attr": True, "seg": True}
# With cells of two pixels and three levels: 32 pixels are grids of 16, 8 and 4 cells.
SMALL = [(1, 1), (2, 1), (8, 8), (28, 28), (29, 17), (32, 32), (1, 30)]
LARGE = [(33, 32), (100, 60), (5, 200)]
FIELDS = ("x", "pos", "node_type", "edge_index", "edge_type", "level", "image_size", "edge_attr", "seg")


def sparse_image(size, seed, density=0.1):
    generator = torch.Generator().manual_seed(seed)
    image = torch.randint(256, size, generator=generator, dtype=torch.uint8)
    return image * (torch.rand(size, generator=generator) < density)


def images_of_sizes():
    images = [sparse_image(size, seed) for seed, size in enumerate(SMALL + LARGE)]
    return [*images, torch.zeros(28, 28, dtype=torch.uint8), torch.zeros(100, 60, dtype=torch.uint8)]


def both(rounds=(3, 2, 1)):
    given = {"relative": False, "rounds": rounds} | OPTIONS
    return VisionBrain(**given), VisionBrain(extend=False, **given)


@pytest.mark.parametrize("rounds", [(1, 1), (3, 2, 1), (2, 2, 2, 2)])
def test_no_edges_from_the_last_level_to_itself(rounds):
    beyond, within = (brain.metadata for brain in both(rounds))
    assert within[0] == beyond[0]
    # The nine part-of relations from the last level are the last words of the other vocabulary, so others keep theirs.
    assert within[1] == beyond[1][:-9]
    last, first = within[0][-1], f"cell{len(rounds) - 1}_round0"
    assert {(source, target) for source, _, target in beyond[1][-9:]} == {(last, first)}
    assert last not in {source for source, _, _ in within[1]}
    assert len(within[1]) == 9 * (sum(rounds) - len(rounds)) + 9 * (len(rounds) - 1)


def test_a_large_image_by_hand():
    # 100×60 pixels are 50×30, 25×15 and 13×8 cells; beyond are 7×4 and 4×2.
    image = torch.tensor([0, 255], dtype=torch.uint8).repeat(100, 30)
    for brain, levels in zip(both((1, 1, 1)), ([1500, 375, 104, 28, 8], [1500, 375, 104]), strict=True):
        graph = brain(image)
        assert torch.bincount(graph.level).tolist() == levels
        assert torch.bincount(graph.node_type).tolist() == [1500, 375, sum(levels[2:])]


@pytest.mark.parametrize("size", LARGE)
def test_the_top_grid_of_a_large_image_is_larger(size):
    graph = both((1, 1))[1](sparse_image(size, 0, density=1))
    top = int((graph.level == 1).sum())
    rows, columns = (-(-side // 4) for side in size)
    assert top == rows * columns
    assert max(rows, columns) > 4
    # Two levels, however large.
    assert graph.level.max() == 1


@pytest.mark.parametrize("size", SMALL)
@pytest.mark.parametrize("density", [0, 0.1, 1])
def test_small_images_have_the_same_graph(size, density):
    image = sparse_image(size, 1, density)
    beyond, within = (brain(image) for brain in both())
    assert set(beyond.keys()) == set(within.keys()) == set(FIELDS)
    for field in FIELDS:
        assert torch.equal(beyond[field], within[field]), field


@pytest.mark.parametrize("size", LARGE)
@pytest.mark.parametrize("density", [0.002, 0.1])
def test_large_images_have_the_lower_part_of_it(size, density):
    beyond, within = (brain(sparse_image(size, 1, density)) for brain in both())
    lower = beyond.level < 6  # three rounds, two and one
    assert not lower.all()
    count = int(lower.sum())
    assert lower[:count].all()
    for field in ("x", "pos", "node_type", "level"):
        assert torch.equal(beyond[field][:count], within[field]), field
    kept = beyond.edge_index[1] < count
    assert torch.equal(beyond.edge_index[:, kept], within.edge_index)
    assert torch.equal(beyond.edge_type[kept], within.edge_type)
    assert torch.equal(beyond.edge_attr[kept], within.edge_attr)
    assert torch.equal(beyond.seg, within.seg)


@pytest.mark.parametrize("rounds", [(1, 1), (3, 2, 1)])
def test_graphs_are_valid(rounds):
    brain = both(rounds)[1]
    for image in images_of_sizes():
        graph = brain(image)
        check_graph(graph, brain.metadata)
        assert nx.is_directed_acyclic_graph(nx.DiGraph(graph.edge_index.t().tolist()))
        assert graph.level.max() < sum(rounds)


def test_sinks_are_the_top():
    brain = both()[1]
    for image in images_of_sizes():
        graph = brain(image)
        sinks = set(range(graph.num_nodes)) - set(graph.edge_index[0].tolist())
        assert sinks == set((graph.level == graph.level.max()).nonzero().flatten().tolist())


def test_a_batch_is_its_images():
    brain, images = both()[1], images_of_sizes()
    batch, expected = brain.batch(images), Batch.from_data_list([brain(image) for image in images])
    assert batch.num_graphs == len(images)
    for field in (*FIELDS, "batch", "ptr"):
        assert torch.equal(batch[field], expected[field]), field
    same_size = torch.stack([sparse_image((70, 90), seed) for seed in range(4)])
    batch = brain.batch(same_size)
    for graph, image in zip(batch.to_data_list(), same_size, strict=True):
        for field in FIELDS:
            assert torch.equal(graph[field], brain(image)[field]), field


@pytest.mark.parametrize("size", [(1, 1), (28, 28), (100, 60)])
def test_a_blank_image_is_one_node(size):
    brain = both()[1]
    graph = brain(torch.full(size, 51, dtype=torch.uint8))
    assert (graph.num_nodes, graph.num_edges) == (1, 0)
    # Of the first type of the top level that the lattice has: 1×1 pixels have two levels.
    top = 1 if size == (1, 1) else 2
    assert brain.metadata[0][int(graph.node_type)] == f"cell{top}_round0"
    torch.testing.assert_close(graph.x[:, :2], torch.tensor([[0.2, 0]]))
    assert not graph.x[:, 2:].any()
    torch.testing.assert_close(graph.pos, torch.tensor([[0.5, 0.5]]))
    assert (graph.seg == -1).all()


def test_config():
    assert VisionBrain().config["extend"] is True
    brain = both()[1]
    assert brain.config["extend"] is False
    again = VisionBrain(**json.loads(json.dumps(brain.config)))
    assert again.metadata == brain.metadata
    assert "extend=False" in repr(brain)


@pytest.mark.parametrize("extend", [0, 1, None, "no"])
def test_other_values_are_refused(extend):
    with pytest.raises(ValueError, match=f"^extend: expected True or False, got {extend!r}"):
        VisionBrain(relative=False, extend=extend)
