from itertools import chain

import pytest
import torch

from grapheme_pyg.datasets import EpochSampler, ImageDataset
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
