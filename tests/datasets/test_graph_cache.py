import os
import sqlite3
import struct

import pytest
import torch
from safetensors.torch import save
from systems import needs_linux
from torch_geometric.loader import DataLoader

from grapheme_pyg import VisionBrain
from grapheme_pyg.augmentation import RandomWarp
from grapheme_pyg.datasets import BudgetBatchSampler, GraphCache, ImageDataset, ImageSequenceDataset, load_image_folder
from grapheme_pyg.errors import DatasetError

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
    assert {path.name for path in tmp_path.rglob("*")} == {"processed", "graphs.db", "sizes.safetensors"}


def changed(path, change):
    content = bytearray(path.read_bytes())
    path.write_bytes(bytes(change(content)))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda content: content[:5000], "expected a sound database of graphs"),
        (lambda content: b"no database " * 99, "expected a sound database of graphs, got file is not a database"),
        (lambda content: b"", r"expected the tables \[.*\], got \[\]"),
        # The height and width of the last image.
        (
            lambda content: content.replace(struct.pack("<2q", 5, 60), struct.pack("<2q", 5, 61)),
            "expected a graph with CRC-32 [0-9a-f]{8}, got [0-9a-f]{8}",
        ),
    ],
    ids=["cut", "other", "empty", "changed"],
)
def test_damaged_graphs_are_refused(tmp_path, change, message):
    GraphCache(tmp_path, dataset(), VisionBrain()).close()
    path = tmp_path / "processed/graphs.db"
    changed(path, change)
    with pytest.raises(DatasetError, match=f"^{path}: .*{message}"):
        GraphCache(tmp_path, dataset(), VisionBrain()).multi_get(range(4))
    path.unlink()
    assert len(GraphCache(tmp_path, dataset(), VisionBrain()).multi_get(range(4))) == 4


def test_graphs_that_changed_places_are_noticed(tmp_path):
    GraphCache(tmp_path, dataset(), VisionBrain()).close()
    connection = sqlite3.connect(tmp_path / "processed/graphs.db")
    connection.execute("UPDATE GraphCache SET id = CASE id WHEN 1 THEN -2 ELSE -1 END WHERE id IN (1, 2)")
    connection.execute("UPDATE GraphCache SET id = -id WHERE id < 0")
    connection.commit()
    cache = GraphCache(tmp_path, dataset(), VisionBrain())
    assert cache[0].num_nodes == cache.num_nodes[0]
    for read in (lambda: cache[1], lambda: cache.multi_get([0, 2])):
        with pytest.raises(DatasetError, match=r"graph [12]: expected a graph with CRC-32"):
            read()
    connection.execute("DELETE FROM GraphCache WHERE id = 0")
    connection.commit()
    for read in (lambda: cache[0], lambda: cache.multi_get([0, 3])):
        with pytest.raises(DatasetError, match=r"expected a sound database of graphs|expected 2 graphs, got 1"):
            read()
    connection.close()
    with pytest.raises(DatasetError, match="expected 4 graphs, got 3"):
        GraphCache(tmp_path, dataset(), VisionBrain())


def test_a_view_in_place_of_the_table_is_not_run(tmp_path):
    GraphCache(tmp_path, dataset(), VisionBrain()).close()
    connection = sqlite3.connect(tmp_path / "processed/graphs.db")
    connection.execute("DROP TABLE GraphCache")
    endless = "WITH RECURSIVE r(id) AS (SELECT 0 UNION ALL SELECT id + 1 FROM r) SELECT id FROM r"
    connection.execute(f"CREATE VIEW GraphCache AS {endless}")
    connection.close()
    with pytest.raises(DatasetError, match=r"expected the tables .*, got .*CREATE VIEW"):
        GraphCache(tmp_path, dataset(), VisionBrain())


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda content: content[:-5], "expected a sound table of sizes, got "),
        (lambda content: b"", "expected a sound table of sizes, got "),
        (lambda content: b"no table" * 99, "expected a sound table of sizes, got "),
        (lambda content: content.replace(b'"sizes"', b'"sizer"'), "expected a sound table of sizes, got "),
        (
            lambda content: content.replace(b'"images"', b'"imager"'),
            "expected graphs with images [0-9a-f]{64}, got None",
        ),
        (lambda content: content[:-1] + b"x", "expected three sound integers for each of 4 graphs, got others"),
        (lambda content: save({"sizes": torch.ones(3, 3)}), "expected graphs with images .*, got None"),
    ],
    ids=["cut", "empty", "other", "lacking", "foreign", "changed", "short"],
)
def test_damaged_sizes_are_refused(tmp_path, change, message):
    GraphCache(tmp_path, dataset(), VisionBrain()).close()
    path = tmp_path / "processed/sizes.safetensors"
    changed(path, change)
    with pytest.raises(DatasetError, match=f"^{path}: {message}.*; delete the folder to have the graphs made again$"):
        GraphCache(tmp_path, dataset(), VisionBrain())


def test_a_strangers_pickles_are_not_loaded(tmp_path):
    touched = tmp_path / "touched"

    class Hostile:
        def __reduce__(self):
            return type(touched).touch, (touched,)

    (tmp_path / "processed").mkdir()
    for name in ("pre_transform.pt", "pre_filter.pt"):
        torch.save(Hostile(), tmp_path / "processed" / name)
    for _ in range(2):
        assert len(GraphCache(tmp_path, dataset(), VisionBrain())) == 4
    assert not touched.exists()


@needs_linux
def test_names_of_pictures_need_not_be_utf_8(tmp_path):
    from PIL import Image

    (tmp_path / "a").mkdir()
    Image.new("L", (9, 9), 100).save(tmp_path / "a/1.png")
    (tmp_path / "a/1.png").rename(tmp_path / "a" / os.fsdecode(b"\xff.png"))
    found = load_image_folder(tmp_path, 1)
    assert len(GraphCache(tmp_path / "cache", ImageSequenceDataset(found.images, found.labels), VisionBrain())) == 1
