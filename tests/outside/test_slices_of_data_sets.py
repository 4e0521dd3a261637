"""A part of a data set, however it was taken, loads what ``part[i]`` gives one by one."""

import copy
import os
import pickle

import numpy as np
import pytest
import torch
from PIL import Image
from torch.utils.data import ConcatDataset, Subset, random_split
from torch.utils.data import DataLoader as TensorLoader
from torch_geometric.loader import DataListLoader, DataLoader, DynamicBatchSampler, ImbalancedSampler

from grapheme_pyg import VisionBrain
from grapheme_pyg.augmentation import RandomWarp
from grapheme_pyg.datasets import (
    BudgetBatchSampler,
    EpochSampler,
    GraphCache,
    ImageDataset,
    ImageFiles,
    ImageGraphDataset,
    ImageSequenceDataset,
)
from grapheme_pyg.datasets.graph_cache import fingerprint
from grapheme_pyg.datasets.samplers import EpochBatches

# Images of which about half of the cells have contrast, so that each graph has another size; each is its own class.
PIXELS = 200 * (torch.rand(12, 8, 8, generator=torch.Generator().manual_seed(0)) > 0.8).to(torch.uint8)
NUMBERS = torch.arange(12)
MASK = NUMBERS % 3 == 0


def mark(graph):
    """A transform that fails if it is applied twice, and leaves a trace."""
    assert "marked" not in graph
    graph.marked = torch.ones(1)
    return graph


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    plain, warped = ImageDataset(PIXELS, NUMBERS), ImageDataset(PIXELS, NUMBERS, augment=RandomWarp())
    images = ImageSequenceDataset(list(PIXELS), NUMBERS, augment=RandomWarp())
    return {
        "graphs": ImageGraphDataset(plain, VisionBrain(), transform=mark),
        "augmented": ImageGraphDataset(warped, VisionBrain(), mark),
        "cache": GraphCache(tmp_path_factory.mktemp("cache"), plain, VisionBrain(), transform=mark),
        "images": warped,
        "sequence": images,
    }


@pytest.fixture
def data_sets(made):
    # PyG ignores a warning of PyTorch from when a database is opened on, which pytest undoes after each test.
    return made | {"cache": copy.copy(made["cache"])}


GRAPHS, IMAGES = ("graphs", "augmented", "cache"), ("images", "sequence")

# Each idiom, and the numbers of the images in the part that it takes.
ANY = {
    "whole": (lambda data: data, list(range(12))),
    "subset": (lambda data: Subset(data, [5, 1, 7]), [5, 1, 7]),
    "subset of an array": (lambda data: Subset(data, np.array([5, 1, 7])), [5, 1, 7]),
    "subset of a subset": (lambda data: Subset(Subset(data, range(4, 12)), [3, 0]), [7, 4]),
}
SLICES = {
    "[3:9]": (lambda data: data[3:9], [3, 4, 5, 6, 7, 8]),
    "[::-5]": (lambda data: data[::-5], [11, 6, 1]),
    "[:0.25]": (lambda data: data[:0.25], [0, 1, 2]),
    "list": (lambda data: data[[5, -1, 7]], [5, 11, 7]),
    "list of tensors": (lambda data: data[list(torch.tensor([5, 1]))], [5, 1]),
    "tuple": (lambda data: data[5, 1, 7], [5, 1, 7]),
    "array": (lambda data: data[np.array([5, 1, 7], dtype=np.int32)], [5, 1, 7]),
    "tensor": (lambda data: data[torch.tensor([[5], [1]])], [5, 1]),
    "mask": (lambda data: data[MASK], [0, 3, 6, 9]),
    "mask as an array": (lambda data: data[MASK.numpy()], [0, 3, 6, 9]),
    "mask as a list": (lambda data: data[MASK.tolist()], [0, 3, 6, 9]),
    "index_select": (lambda data: data.index_select([5, 1, 7]), [5, 1, 7]),
    "nested": (lambda data: data[2:][[9, 0, 4, 1]][1:], [2, 6, 3]),
    "subset of a slice": (lambda data: Subset(data[4:], [3, 0]), [7, 4]),
}


def num_nodes(part):
    return torch.tensor([graph.num_nodes for graph in part])


# Each loader, of which positions it takes in which order.
LOADERS = {
    "in order": (lambda part: range(len(part)), lambda part, order: DataLoader(part, batch_size=4)),
    "lists": (lambda part: range(len(part)), lambda part, order: DataListLoader(part, batch_size=4)),
    "epoch": (EpochSampler, lambda part, order: DataLoader(part, batch_size=4, sampler=order)),
    "budget": (
        lambda part: BudgetBatchSampler(num_nodes(part), 60, shuffle=True),
        lambda part, order: DataLoader(part, batch_sampler=order),
    ),
    "dynamic": (
        lambda part: DynamicBatchSampler(part, 60),
        lambda part, order: DataLoader(part, batch_sampler=order),
    ),
    "imbalanced": (
        lambda part: list(ImbalancedSampler(part)),
        lambda part, order: DataLoader(part, batch_size=4, sampler=order),
    ),
}


def positions(order):
    return [i for entry in order for i in (entry if isinstance(entry, list) else [entry])]


def graphs_of(loader):
    return [graph for batch in loader for graph in (batch if isinstance(batch, list) else batch.to_data_list())]


def assert_same(loaded, expected):
    assert len(loaded) == len(expected)
    for graph, other in zip(loaded, expected, strict=True):
        assert set(graph.keys()) == set(other.keys())
        assert "marked" in graph
        assert all(torch.equal(graph[key], other[key]) for key in graph.keys())  # noqa: SIM118


# Every day each kind of data set meets all idioms and all loaders, and each idiom half of the loaders.
@pytest.mark.parametrize(
    ("name", "idiom", "loader"),
    [
        pytest.param(name, idiom, loader, marks=[] if (i + j + k) % 6 == 0 else pytest.mark.slow)
        for i, name in enumerate(GRAPHS)
        for j, idiom in enumerate(ANY | SLICES)
        for k, loader in enumerate(LOADERS)
    ],
)
def test_a_loader_yields_what_positions_of_the_part_give(data_sets, name, idiom, loader):
    """pyg#10621."""
    whole = data_sets[name]
    take, numbers = (ANY | SLICES)[idiom]
    part = take(whole)
    one_by_one = [part[i] for i in range(len(part))]
    assert [graph.y.item() for graph in one_by_one] == numbers
    # What augmentation does to an image depends on its number, not on its position in the part.
    assert_same(one_by_one, [whole[i] for i in numbers])
    make_order, load = LOADERS[loader]
    order = make_order(part)
    assert_same(graphs_of(load(part, order)), [one_by_one[i] for i in positions(order)])


@pytest.mark.parametrize("name", GRAPHS)
def test_train_and_test_parts_are_disjoint(data_sets, name):
    """pyg#10621."""
    whole = data_sets[name]
    shuffled, order = whole.shuffle(return_perm=True)
    ends = random_split(whole, [7, 5])
    odd = np.arange(12) % 2 == 1
    for parts in ((shuffled[:7], shuffled[7:]), ends, (whole[odd], whole[~odd])):
        train, test = ([graph.y.item() for graph in graphs_of(DataLoader(part, batch_size=4))] for part in parts)
        assert sorted(train + test) == list(range(12))
    assert [graph.y.item() for graph in shuffled] == order.tolist()


@pytest.mark.slow
@pytest.mark.parametrize("name", ["augmented", "cache"])
def test_worker_processes_load_the_same(data_sets, name):
    """pyg#10621."""
    part = data_sets[name][[5, 1, 7]]
    # Not forked from this process, whose threads may hold locks.
    workers = {"num_workers": 2, "multiprocessing_context": "forkserver"}
    assert_same(graphs_of(DataLoader(part, batch_size=2, **workers)), list(part))


@pytest.mark.parametrize("name", GRAPHS)
def test_what_pyg_asks_of_a_data_set_is_of_the_slice(data_sets, name):
    """pyg#10621."""
    part = data_sets[name][[5, 1, 7]]
    assert (len(part), len(part[:0]), part.num_classes) == (3, 0, 8)
    assert list(part[:0]) == list(DataLoader(part[:0])) == []
    assert_same(list(part.to_datapipe()), list(part))
    summary = part.get_summary()
    assert (summary.num_graphs, summary.num_nodes.mean) == (3, num_nodes(part).float().mean())
    with pytest.raises(IndexError):
        part[3]
    with pytest.raises(IndexError, match=r"^index: expected integers in \[-3, 3\), got 3$"):
        part[[0, 3]]
    with pytest.raises(ValueError, match=r"mask of 3 truth values, got bool of shape \[12\]$"):
        part[MASK]


def test_a_slice_of_a_cache_has_its_own_sizes(data_sets):
    """pyg#10621."""
    cache = data_sets["cache"]
    part = cache[[5, 1, 7]][1:]
    for of_part, of_whole in ((part.num_nodes, cache.num_nodes), (part.num_edges, cache.num_edges)):
        assert of_part.tolist() == [int(of_whole[1]), int(of_whole[7])]
    assert part.num_nodes.tolist() == [graph.num_nodes for graph in part]
    assert cache[:0].num_nodes.dtype == torch.int64
    for indices in (slice(None), range(2), torch.tensor([0, -1]), iter([0, 1])):
        assert_same(part.multi_get(indices, batch_size=1), [cache[1], cache[7]])
    for closed in (part, cache):
        closed.close()
        assert_same([closed[-1], cache[1]], [closed[-1], cache[[1]][0]])


@pytest.mark.parametrize("idiom", ANY)
@pytest.mark.parametrize("name", IMAGES)
def test_images_are_loaded_by_positions_of_the_part(data_sets, name, idiom):
    """pyg#10621."""
    take, numbers = ANY[idiom]
    whole, part = data_sets[name], take(data_sets[name])
    sampler = EpochSampler(part)
    loaders = {
        "torch": (range(len(part)), TensorLoader(part, batch_size=4)),
        "pyg": (range(len(part)), DataLoader(part, batch_size=4)),
        "epoch": (sampler, TensorLoader(part, batch_size=4, sampler=sampler)),
        "budget": ([[0, 1], [2]], TensorLoader(part, batch_sampler=[[0, 1], [len(part) - 1]])),
        "whole batches": (sampler, TensorLoader(part, batch_size=None, sampler=EpochBatches(sampler, 2))),
    }
    loaders["budget"] = ([0, 1, len(part) - 1], loaders["budget"][1])
    for order, loader in loaders.values():
        batches = list(loader)
        expected = [numbers[i] for i in order]
        assert torch.cat([labels for _, labels in batches]).tolist() == expected
        images = [image for batch, _ in batches for image in batch]
        assert all(torch.equal(image, whole[i][0]) for image, i in zip(images, expected, strict=True))


@pytest.mark.parametrize(
    "take",
    [
        lambda images: images,
        lambda images: Subset(images, [5, 1]),
        lambda images: Subset(Subset(images, [5, 1]), [0]),
        lambda images: ConcatDataset([Subset(images, [5]), Subset(images, [1])]),
        lambda images: ImageGraphDataset(images, VisionBrain())[3:],
        lambda images: Subset(ImageGraphDataset(images, VisionBrain()), [5, 1]),
        lambda images: ImageGraphDataset(Subset(images, [5, 1]), VisionBrain()),
    ],
)
def test_the_epoch_reaches_the_images_below(take):
    """pyg#10621."""
    images, expected = (ImageDataset(PIXELS, NUMBERS, augment=RandomWarp()) for _ in range(2))
    sampler = EpochSampler(take(images))
    sampler.set_epoch(3)
    expected.set_epoch(3)
    assert torch.equal(images[5][0], expected[5][0])
    assert sorted(sampler) == list(range(len(sampler)))


def test_a_cache_has_an_order_but_no_epoch_and_takes_no_subset(data_sets, tmp_path):
    """pyg#10621."""
    sampler = EpochSampler(data_sets["cache"][:5])
    sampler.set_epoch(1)
    assert sorted(sampler) == [0, 1, 2, 3, 4]
    with pytest.raises(ValueError, match=r"^images: expected an ImageDataset or .*, got Subset$"):
        GraphCache(tmp_path, Subset(ImageDataset(PIXELS, NUMBERS), [5, 1]), VisionBrain())


@pytest.mark.parametrize("clone", [copy.copy, copy.deepcopy, lambda it: pickle.loads(pickle.dumps(it))])
def test_a_cache_survives_copying_and_pickling(data_sets, clone):
    """pyg#8092, graphnet#243."""
    part = data_sets["cache"][[5, 1, 7]]
    expected = list(part)
    again = clone(part)
    assert_same(list(again), expected)
    again.close()
    assert_same(list(part), expected)


@pytest.mark.slow
def test_a_spawned_worker_reads_a_cache_whose_folder_was_relative(tmp_path, monkeypatch):
    """pyg#8092, graphnet#243."""
    monkeypatch.chdir(tmp_path)
    cache = GraphCache("cache", ImageDataset(PIXELS, NUMBERS), VisionBrain())
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir("elsewhere")
    assert cache[2:4].num_nodes.tolist() == [graph.num_nodes for graph in cache[2:4]]
    loader = DataLoader(cache[[5, 1, 7]], batch_size=3, num_workers=1, multiprocessing_context="spawn")
    (batch,) = loader
    assert batch.y.tolist() == [5, 1, 7]
    assert os.listdir() == []  # noqa: PTH208


@pytest.mark.parametrize(
    ("index", "numbers"),
    [
        (slice(2, 4), [2, 3]),
        (slice(None, None, -5), [11, 6, 1]),
        (slice(9, 3), []),
        ([], []),
        ([-1, 0], [11, 0]),
        (range(2), [0, 1]),
        (np.array([3, 5], dtype=np.uint8), [3, 5]),
        (torch.tensor([3, -3], dtype=torch.int16), [3, 9]),
        (MASK, [0, 3, 6, 9]),
        (MASK.numpy(), [0, 3, 6, 9]),
        (MASK.tolist(), [0, 3, 6, 9]),
        (7, 7),
        (-1, 11),
        (np.int64(7), 7),
        (np.array(7), 7),
        (torch.tensor(7, dtype=torch.uint8), 7),
    ],
    ids=repr,
)
def test_images_are_taken_by_any_index(data_sets, tmp_path, index, numbers):
    files = ImageFiles([tmp_path / f"{i}.png" for i in range(12)], in_channels=1)
    for i, path in enumerate(files.paths):
        Image.fromarray(PIXELS[i].numpy()).save(path)
    for images in (data_sets["images"], data_sets["sequence"]):
        taken, labels = images[index]
        assert labels.tolist() == numbers
        assert labels.dtype == torch.int64
        several = [taken] if isinstance(numbers, int) else taken
        assert len(several) == labels.numel()
        assert all(torch.equal(image, images[int(i)][0]) for image, i in zip(several, labels.view(-1), strict=True))
    if isinstance(numbers, int):
        assert torch.equal(files[index][0], PIXELS[numbers])
    else:
        assert files[index].paths == [files.paths[i] for i in numbers]
        assert isinstance(files[index], ImageFiles)


@pytest.mark.parametrize(
    ("index", "error", "got"),
    [
        (12, IndexError, "12"),
        (-13, IndexError, "-13"),
        ([0, 12, 13], IndexError, "12"),
        (np.uint64(2**64 - 1), IndexError, "18446744073709551615"),
        ("3", ValueError, "'3'"),
        (3.0, ValueError, "3.0"),
        (None, ValueError, "None"),
        (True, ValueError, "True"),
        (slice(0.5), ValueError, r"slice\(None, 0.5, None\)"),
        ([0.5, 1], ValueError, r"float64 of shape \[2\]"),
        ([[0, 1], [2]], ValueError, r"\[\[0, 1\], \[2\]\]"),
        (torch.tensor([[0, 1]]), ValueError, r"int64 of shape \[1, 2\]"),
        (MASK[:9], ValueError, r"bool of shape \[9\]"),
    ],
    ids=repr,
)
def test_other_indices_are_refused(data_sets, index, error, got):
    for images in (data_sets["images"], data_sets["sequence"], ImageFiles([f"{i}.png" for i in range(12)])):
        with pytest.raises(error, match=f"^index: expected .*, got {got}$"):
            images[index]


def test_sizes_of_other_kinds_are_refused():
    with pytest.raises(ValueError, match=r"^num_nodes: expected torch.int64 of shape \[N\], got list$"):
        BudgetBatchSampler([3, 4], 7)
    with pytest.raises(ValueError, match=r"^max_nodes: expected a positive integer, got 2.5$"):
        BudgetBatchSampler(torch.tensor([3, 4]), 2.5)
    assert list(BudgetBatchSampler(torch.tensor([3, 4]), np.int64(7))) == [[0, 1]]


def test_iteration_by_index_ends(data_sets):
    for images in (data_sets["images"], data_sets["sequence"]):
        assert [int(label) for _, label in images] == list(range(12))


def test_labels_and_images_may_be_strided(tmp_path):
    """No part of a data set needs contiguous memory: the cache of a column is that of its copy."""
    table = torch.stack([NUMBERS, NUMBERS + 1], dim=1)
    turned = PIXELS.transpose(1, 2)
    strided = ImageDataset(turned, table[:, 0], augment=RandomWarp())
    plain = ImageDataset(turned.contiguous(), NUMBERS, augment=RandomWarp())
    assert torch.equal(strided[MASK][0], plain[MASK][0])
    assert strided[3][1] == 3
    assert fingerprint(strided) == fingerprint(plain)
    for images in (ImageDataset(plain.images, NUMBERS), ImageDataset(turned, table[:, 0])):
        assert GraphCache(tmp_path, images, VisionBrain())[[5, 1]][1].y.tolist() == [1]


def test_brains_of_equal_settings_are_equal():
    class Other(VisionBrain):
        pass

    brain, again = VisionBrain(rounds=[1, 2]), VisionBrain(rounds=(1, 2))
    brain(PIXELS[0])
    for equal in (again, copy.deepcopy(brain), pickle.loads(pickle.dumps(brain)), VisionBrain(**brain.config)):
        assert equal == brain
        assert {brain: "found"}[equal] == "found"
    for other in (VisionBrain(rounds=(2, 2)), VisionBrain(in_channels=3, rounds=(1, 2)), Other(rounds=(1, 2)), "grid"):
        assert other != brain
    rough, same = VisionBrain("superpixel", compactness=10), VisionBrain("superpixel", compactness=10.0)
    assert rough == same
    assert hash(rough) == hash(same)
