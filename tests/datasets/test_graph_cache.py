import json

import pytest
import torch
from torch_geometric.loader import DataLoader

from grapheme_pyg import VisionBrain
from grapheme_pyg.augmentation import RandomWarp
from grapheme_pyg.datasets import BudgetBatchSampler, GraphCache, ImageDataset, ImageSequenceDataset, load_image_folder

SIZES = [(28, 28), (1, 1), (30, 17), (5, 60)]


def dataset(seed=0):
    generator = torch.Generator().manual_seed(seed)
    images = [torch.randint(256, (1, *size), generator=generator, dtype=torch.uint8) for size in SIZES]
    return ImageSequenceDataset(images, torch.tensor([3, 0, 2, 3]))


@pytest.mark.parametrize("vision", [VisionBrain(), VisionBrain("blob", seg=True)], ids=["grid", "blob"])
def test_graphs_come_back_as_they_were_made(tmp_path, vision):
    images = dataset()
    first = GraphCache(tmp_path, images, vision)
    made = vision.batch(*images[[0, 1, 2, 3]]).to_data_list()
    for cache in (first, GraphCache(tmp_path, images, vision)):
        assert len(cache) == 4
        for graph, expected in zip(cache, made, strict=True):
            assert type(graph) is type(expected)
            assert set(graph.keys()) == set(expected.keys())
            for key in expected.keys():  # noqa: SIM118
                assert torch.equal(graph[key], expected[key]), key
        assert cache.num_nodes.tolist() == [graph.num_nodes for graph in made]
        assert cache.num_edges.tolist() == [graph.num_edges for graph in made]


def test_what_is_there_is_not_made_again(tmp_path, monkeypatch):
    images, vision = dataset(), VisionBrain()
    GraphCache(tmp_path, images, vision)
    monkeypatch.setattr(VisionBrain, "batch", None)
    assert len(GraphCache(tmp_path, images, vision)) == 4


def test_what_was_left_unfinished_is_made_anew(tmp_path, monkeypatch):
    images, vision = dataset(), VisionBrain()
    monkeypatch.setattr("grapheme_pyg.datasets.graph_cache.AT_ONCE", 1)
    batch, calls = VisionBrain.batch, []

    def interrupted(*arguments):
        calls.append(1)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return batch(*arguments)

    monkeypatch.setattr(VisionBrain, "batch", interrupted)
    with pytest.raises(KeyboardInterrupt):
        GraphCache(tmp_path, images, vision)
    assert len(GraphCache(tmp_path, images, vision)) == 4
    assert len(calls) == 3 + 4


def test_graphs_of_something_else_are_refused(tmp_path):
    GraphCache(tmp_path, dataset(), VisionBrain())
    with pytest.raises(ValueError, match=r"expected graphs with vision .*blob.*, got .*grid"):
        GraphCache(tmp_path, dataset(), VisionBrain("blob"))
    with pytest.raises(ValueError, match=r"expected graphs with images [0-9a-f]{64}, got [0-9a-f]{64}"):
        GraphCache(tmp_path, dataset(1), VisionBrain())
    augmented = ImageDataset(torch.zeros(2, 4, 4, dtype=torch.uint8), torch.zeros(2, dtype=torch.int64))
    augmented.augment = RandomWarp()
    with pytest.raises(ValueError, match="images: expected none that are augmented"):
        GraphCache(tmp_path / "other", augmented, VisionBrain())


@pytest.mark.parametrize("num_workers", [0, 2])
def test_budgets_and_workers(tmp_path, num_workers):
    cache = GraphCache(tmp_path, dataset(), VisionBrain())
    sampler = BudgetBatchSampler(cache.num_nodes, int(cache.num_nodes.max()), shuffle=True)
    batches = list(DataLoader(cache, batch_sampler=sampler, num_workers=num_workers))
    assert sum(batch.num_graphs for batch in batches) == 4
    assert sum(batch.num_nodes for batch in batches) == int(cache.num_nodes.sum())


def test_files_that_change_are_other_images(tmp_path):
    from PIL import Image

    for name in ("a/1.png", "b/1.png"):
        (tmp_path / name).parent.mkdir()
        Image.new("L", (9, 9), 100).save(tmp_path / name)
    found = load_image_folder(tmp_path, 1)
    images = ImageSequenceDataset(found.images, found.labels)
    GraphCache(tmp_path / "cache", images, VisionBrain())
    Image.new("L", (9, 8), 100).save(tmp_path / "a/1.png")
    with pytest.raises(ValueError, match="expected graphs with images"):
        GraphCache(tmp_path / "cache", images, VisionBrain())


def test_nothing_is_pickled(tmp_path):
    GraphCache(tmp_path, dataset(), VisionBrain())
    content = (tmp_path / "processed/graphs.db").read_bytes()
    assert b"pickle" not in content
    assert b"torch" not in content
    assert set(json.loads((tmp_path / "processed/description.json").read_text())) == {
        "images",
        "vision",
        "num_nodes",
        "num_edges",
    }
