from itertools import chain, pairwise

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch_geometric.loader import DataLoader

from grapheme_pyg import VisionBrain
from grapheme_pyg.datasets import BudgetBatchSampler, EpochSampler, ImageDataset
from grapheme_pyg.datasets.samplers import EpochBatches


@pytest.fixture
def sampler():
    return EpochSampler(ImageDataset(torch.zeros(11, 2, 2, dtype=torch.uint8), torch.arange(11)), seed=3)


def test_batches_are_the_order_of_the_epoch_cut_up(sampler):
    batches = EpochBatches(sampler, 4)
    for epoch in (0, 1):
        batches.set_epoch(epoch)
        whole = list(batches)
        assert [len(batch) for batch in whole] == [4, 4, 3]
        assert list(chain(*whole)) == list(sampler)
        assert whole == [batches.share_of(i) for i in range(len(batches))]


def test_an_interrupted_epoch_goes_on_and_the_next_is_whole(sampler):
    batches, whole = EpochBatches(sampler, 4), EpochBatches(sampler, 4)
    batches.go_on(1, 2)
    assert len(batches) == 3
    assert list(batches) == list(whole)[2:]
    batches.set_epoch(2)
    assert list(batches) == list(whole)


@pytest.mark.parametrize("world_size", [1, 2, 3, 4])
def test_shares_are_the_whole_without_a_gap_or_a_double(sampler, world_size):
    shares = [list(EpochBatches(sampler, 4, rank=rank, world_size=world_size)) for rank in range(world_size)]
    for batch, *parts in zip(EpochBatches(sampler, 4), *shares, strict=True):
        assert sorted(chain(*parts)) == sorted(batch)
        assert max(map(len, parts)) - min(map(len, parts)) <= 1


def test_a_range_stays_as_it_is():
    batches = EpochBatches(range(5), 2, rank=1, world_size=2)
    batches.set_epoch(7)
    assert list(batches) == [[1], [3], []]


sizes = st.lists(st.tuples(st.integers(0, 30), st.integers(0, 60)), max_size=40)


@given(sizes, st.integers(1, 50), st.integers(1, 80), st.booleans())
@settings(deadline=None, derandomize=True, database=None)
def test_every_index_once_no_batch_empty_and_none_over_budget(graphs, max_nodes, max_edges, shuffle):
    nodes, edges = (torch.tensor([graph[i] for graph in graphs], dtype=torch.int64) for i in (0, 1))
    sampler = BudgetBatchSampler(nodes, max_nodes, num_edges=edges, max_edges=max_edges, shuffle=shuffle)
    for epoch in range(2):
        sampler.set_epoch(epoch)
        batches = list(sampler)
        assert sorted(i for batch in batches for i in batch) == list(range(len(graphs)))
        assert all(batches)
        assert len(sampler) == len(batches)
        for batch in batches:
            within = int(nodes[batch].sum()) <= max_nodes and int(edges[batch].sum()) <= max_edges
            assert within or len(batch) == 1
        # Nothing that would have fitted was left for the next batch.
        for one, other in pairwise(batches):
            together = [*one, other[0]]
            assert int(nodes[together].sum()) > max_nodes or int(edges[together].sum()) > max_edges


def test_the_order_is_that_of_the_seed_and_the_epoch():
    nodes = torch.ones(50, dtype=torch.int64)
    first, again, other = (BudgetBatchSampler(nodes, 7, shuffle=True, seed=seed) for seed in (1, 1, 2))
    assert list(first) == list(again) != list(other)
    first.set_epoch(1)
    assert list(first) != list(again)


def test_with_pygs_data_loader():
    brain = VisionBrain()
    graphs = [brain((torch.rand(size, size) > 0.7).float()) for size in (4, 40, 9, 100, 9, 30, 2)]
    nodes = torch.tensor([graph.num_nodes for graph in graphs])
    budget = int(nodes[3]) - 1
    batches = list(DataLoader(graphs, batch_sampler=BudgetBatchSampler(nodes, budget)))
    assert [batch.num_graphs for batch in batches] == [3, 1, 3]
    assert torch.equal(torch.cat([batch.x for batch in batches]), torch.cat([graph.x for graph in graphs]))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"num_nodes": torch.ones(3)}, r"num_nodes: expected torch.int64 of shape \[N\], got torch.float32"),
        ({"max_nodes": 0}, "max_nodes: expected a positive integer, got 0"),
        ({"num_edges": torch.tensor([1]), "max_edges": 3}, r"num_edges: expected torch.int64 of shape \[N\], got"),
        ({"max_edges": 3}, "max_edges: expected both num_edges and max_edges, or neither"),
    ],
)
def test_what_is_refused(arguments, message):
    with pytest.raises(ValueError, match=f"^{message}"):
        BudgetBatchSampler(**({"num_nodes": torch.tensor([1, 2, 3]), "max_nodes": 5} | arguments))
