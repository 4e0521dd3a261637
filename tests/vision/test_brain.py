import copy
import json
import pickle
import re

import networkx as nx
import numpy as np
import pytest
import torch
from PIL import Image
from torch_geometric.data import Batch
from torch_geometric.loader import DataLoader
from torch_geometric.transforms import Compose, Constant

from grapheme_pyg.vision import ImageGraph, VisionBrain, lattice_cache

OPTIONS = {"edge_attr": True, "seg": True}
SIZES = [(28, 28), (28, 28), (1, 1), (29, 17), (8, 8), (28, 28), (1, 30), (40, 70), (7, 5)]

configurations = pytest.mark.parametrize(
    ("in_channels", "with_y", "options"),
    [
        (1, False, {}),
        (3, True, {}),
        (1, True, {"edge_attr": True}),
        (3, False, {"seg": True}),
        (1, True, OPTIONS),
    ],
)


def sparse_image(size, seed, channels=1, density=0.05):
    rng = np.random.default_rng(seed)
    image = rng.integers(0, 256, (channels, *size)) * (rng.random((channels, *size)) < density)
    return torch.from_numpy(image.astype(np.uint8))


def images_of_sizes(channels=1):
    """Images of many sizes, with blank ones among them, one 1×1 image and one graph of a single edge."""
    images = [sparse_image(size, seed, channels) for seed, size in enumerate(SIZES)]
    one_edge = torch.tensor([[[0, 255]]], dtype=torch.uint8).repeat(channels, 1, 1)
    return [*images, torch.zeros(channels, 28, 28), torch.ones(channels, 13, 9), one_edge]


def random_digits():
    return torch.stack([sparse_image((28, 28), seed, density=0.03 * (seed % 4)) for seed in range(64)])


@pytest.fixture(params=["random", "digits"])
def sixty_four(request):
    """Random images, and real digits."""
    if request.param == "random":
        return random_digits()
    train, _ = request.getfixturevalue("digits")
    return train.images[:64]


def assert_same_fields(graph, expected):
    assert set(graph.keys()) == set(expected.keys())
    for key in expected.keys():  # noqa: SIM118
        assert graph[key].dtype == expected[key].dtype, key
        assert torch.equal(graph[key], expected[key]), key


def assert_same_batch(batch, expected):
    assert type(batch) is type(expected)
    assert batch.num_graphs == expected.num_graphs
    assert batch.num_nodes == expected.num_nodes
    assert_same_fields(batch, expected)
    for bookkeeping in ("_slice_dict", "_inc_dict"):
        built, wanted = getattr(batch, bookkeeping), getattr(expected, bookkeeping)
        assert set(built) == set(wanted), bookkeeping
        for key, value in wanted.items():
            assert torch.equal(torch.as_tensor(built[key]), torch.as_tensor(value)), (bookkeeping, key)


def assert_batch_is_made_of_singles(brain, images, y=None):
    graphs = [brain(image) for image in images]
    if y is not None:
        for graph, label in zip(graphs, y, strict=True):
            graph.y = label.view(1)
    batch = brain.batch(images, y)
    assert_same_batch(batch, Batch.from_data_list(graphs))
    for graph, single in zip(batch.to_data_list(), graphs, strict=True):
        assert type(graph) is type(single) is ImageGraph
        assert_same_fields(graph, single)
    return batch


def assert_acyclic(graph):
    built = nx.DiGraph(graph.edge_index.t().tolist())
    assert nx.is_directed_acyclic_graph(built)
    source, target = graph.edge_index
    assert bool((graph.level[source] < graph.level[target]).all())


# Fields


@configurations
def test_fields_shapes_and_dtypes(in_channels, with_y, options):
    brain = VisionBrain(in_channels=in_channels, **options)
    for image in images_of_sizes(in_channels):
        batch = brain.batch([image], [7] if with_y else None)
        nodes, edges, (height, width) = batch.num_nodes, batch.num_edges, image.shape[1:]
        expected = {
            "x": ((nodes, brain.num_features), torch.float32),
            "pos": ((nodes, 2), torch.float32),
            "node_type": ((nodes,), torch.int64),
            "edge_index": ((2, edges), torch.int64),
            "edge_type": ((edges,), torch.int64),
            "level": ((nodes,), torch.int64),
            "image_size": ((1, 2), torch.int64),
        }
        if "edge_attr" in options:
            expected["edge_attr"] = (edges, 3), torch.float32
        if "seg" in options:
            expected["seg"] = (height * width,), torch.int64
        if with_y:
            expected["y"] = (1,), torch.int64
        graph = batch[0]
        assert isinstance(graph, ImageGraph)
        assert {key: (tuple(value.shape), value.dtype) for key, value in graph} == expected
        assert nodes >= 1
        assert graph.image_size.tolist() == [[height, width]]
        assert bool(((graph.pos > 0) & (graph.pos < 1)).all())
        assert bool(((graph.x >= 0) & (graph.x <= 1)).all())


@pytest.mark.parametrize("rounds", [(1, 1), (3, 2, 1), (2, 2, 2, 2)])
def test_names_are_parameter_names_and_do_not_depend_on_images(rounds):
    brain = VisionBrain(rounds=rounds)
    node_types, edge_types = before = copy.deepcopy(brain.metadata)
    assert len(set(node_types)) == len(node_types) == sum(rounds)
    # Nine lateral relations into every round but the first, nine part-of relations out of every level.
    assert len(set(edge_types)) == len(edge_types) == 9 * (sum(rounds) - len(rounds)) + 9 * len(rounds)
    for name in [*node_types, *(part for triple in edge_types for part in triple)]:
        assert re.search(r"^[a-z0-9_]+$", name)
    assert {end for source, _, target in edge_types for end in (source, target)} == set(node_types)
    brain.batch(images_of_sizes())
    assert brain.metadata == before
    brain.metadata[0].clear()
    assert brain.metadata == before


@pytest.mark.parametrize("rounds", [(1, 1), (3, 2, 1)])
def test_graphs_are_acyclic_typed_and_sorted(rounds):
    brain = VisionBrain(rounds=rounds)
    node_types, edge_types = brain.metadata
    batch = brain.batch(images_of_sizes())
    assert_acyclic(batch)
    for (source, target), kind in zip(batch.edge_index.t().tolist(), batch.edge_type.tolist(), strict=True):
        ends = [node_types[batch.node_type[end]] for end in (source, target)]
        assert ends == [edge_types[kind][0], edge_types[kind][2]]
    nodes = list(zip(batch.batch.tolist(), batch.level.tolist(), batch.pos.flip(1).tolist(), strict=True))
    assert nodes == sorted(nodes)
    assert len({str(node) for node in nodes}) == len(nodes)
    source, target = batch.edge_index.tolist()
    edges = list(zip(target, batch.edge_type.tolist(), source, strict=True))
    assert edges == sorted(set(edges))


def test_edge_attr_is_the_offset_from_target_to_source():
    # Two cells of 2×2 pixels, side by side in an image twice as wide as high: centres (1, 1) and (3, 1), and
    # (2, 1) above them, divided by 4.
    image = torch.tensor([[0, 255, 255, 0], [0, 0, 0, 0]], dtype=torch.uint8)
    graph = VisionBrain(rounds=(2, 1), edge_attr=True)(image)
    assert graph.edge_index.tolist() == [[0, 1, 0, 1, 2, 3], [2, 2, 3, 3, 4, 4]]
    east, west = [0.5, 0, 0.5], [-0.5, 0, 0.5]
    assert graph.edge_attr.tolist() == [[0, 0, 0], east, west, [0, 0, 0], [-0.25, 0, 0.25], [0.25, 0, 0.25]]


@pytest.mark.parametrize("size", [(29, 17), (40, 70), (28, 28)])
def test_edge_attr_agrees_with_positions(size):
    graph = VisionBrain(edge_attr=True, relative=False)(sparse_image(size, 3))
    height, width = size
    pixels = graph.pos.double() * torch.tensor([width, height])
    offset = (pixels[graph.edge_index[0]] - pixels[graph.edge_index[1]]) / max(size)
    expected = torch.cat([offset, offset.norm(dim=1, keepdim=True)], dim=1)
    assert graph.num_edges > 100
    torch.testing.assert_close(graph.edge_attr.double(), expected, rtol=0, atol=1e-6)


@pytest.mark.parametrize(("patch_size", "margin"), [(1, 1), (2, 0), (3, 0)])
@pytest.mark.parametrize("size", [(1, 1), (8, 8), (13, 7)])
@pytest.mark.parametrize("density", [0, 0.05, 1])
def test_seg_is_the_finest_node_whose_cell_contains_the_pixel(patch_size, margin, size, density):
    brain = VisionBrain(patch_size=patch_size, margin=margin, seg=True)
    graph = brain(sparse_image(size, 5, density=density))
    height, width = size
    finest = brain.metadata[0].index("cell0_round0")
    node_at = {}
    for node, (x, y) in enumerate(graph.pos.tolist()):
        if graph.node_type[node] == finest:
            node_at[int(y * height // patch_size), int(x * width // patch_size)] = node
    assert len(node_at) == int((graph.node_type == finest).sum())
    expected = [
        node_at.get((row // patch_size, column // patch_size), -1) for row in range(height) for column in range(width)
    ]
    assert graph.seg.tolist() == expected


# A batch is its graphs


@configurations
def test_batch_of_many_sizes_is_made_of_singles(in_channels, with_y, options):
    images = images_of_sizes(in_channels)
    y = torch.arange(len(images)) * 3 if with_y else None
    batch = assert_batch_is_made_of_singles(VisionBrain(in_channels=in_channels, **options), images, y)
    assert (batch.num_nodes, batch.num_graphs) > (200, len(SIZES))


@pytest.mark.parametrize("options", [{}, OPTIONS], ids=str)
@pytest.mark.parametrize("kind", ["blank", "one pixel", "one", "colour tensor", "array", "PIL"])
def test_batch_of_one_size_is_made_of_singles(kind, options):
    colour = torch.stack([sparse_image((12, 20), seed, channels=3) for seed in range(5)])
    last = colour.movedim(1, -1).contiguous().numpy()
    images = {
        "blank": torch.zeros(3, 9, 9),
        "one pixel": 0.5 + torch.rand(3, 1, 1) / 2,
        "one": colour[:1, 0],
        "colour tensor": colour,
        "array": last,
        "PIL": [Image.fromarray(image) for image in last],
    }[kind]
    assert_batch_is_made_of_singles(VisionBrain(**options), images, torch.arange(len(images)))


def test_sixty_four_images(sixty_four):
    y = torch.arange(64) % 10
    batch = assert_batch_is_made_of_singles(VisionBrain(**OPTIONS), sixty_four, y)
    assert_acyclic(batch)
    assert batch.num_edges > 64 * 50
    assert batch.ptr.diff().unique().numel() > 3  # the graphs follow their images


def test_order_of_a_batch_is_that_of_its_images():
    brain = VisionBrain(**OPTIONS)
    images = images_of_sizes()
    order = torch.randperm(len(images), generator=torch.Generator().manual_seed(0)).tolist()
    graphs = brain.batch(images).to_data_list()
    permuted = brain.batch([images[i] for i in order]).to_data_list()
    assert len({graph.num_edges for graph in graphs}) > 5
    for graph, i in zip(permuted, order, strict=True):
        assert_same_fields(graph, graphs[i])


def test_y_may_be_a_list():
    assert VisionBrain().batch(torch.zeros(3, 4, 4), [5, 0, 2]).y.tolist() == [5, 0, 2]


def test_cells_grow_with_images_of_a_known_size():
    sizes = (None, "training", 28, 60, 61, 100, 224, 4096)
    for mode in ("grid", "hybrid"):
        assert [VisionBrain(mode, resize=size).finder.patch_size for size in sizes] == [2, 2, 2, 2, 3, 4, 9, 32]
        assert VisionBrain(mode, resize=100, patch_size=2).finder.patch_size == 2
    assert VisionBrain("superpixel", resize=100) == VisionBrain("superpixel", resize=100, num_regions=75)
    brain = VisionBrain(resize=100)
    assert VisionBrain(**brain.config) == brain


# The same image gives the same graph


def test_deterministic():
    images = images_of_sizes()
    first, second = VisionBrain(**OPTIONS), VisionBrain(**OPTIONS)
    batch = first.batch(images)
    assert_same_batch(first.batch(images), batch)
    assert_same_batch(second.batch(images), batch)


@pytest.mark.parametrize("rounds", [(1, 1), (2, 3, 2)], ids=str)
@pytest.mark.parametrize("extend", [True, False])
def test_images_of_similar_sizes_share_a_lattice(rounds, extend):
    sizes = [(height, width) for height in range(1, 36, 3) for width in range(1, 36, 4)]
    images = [sparse_image(size, seed, density=0.1 * (seed % 3)) for seed, size in enumerate(sizes)]
    brain = VisionBrain(rounds=rounds, extend=extend, resize=None)
    batch = assert_batch_is_made_of_singles(brain, images)
    alone = VisionBrain(rounds=rounds, extend=extend, resize=None)
    assert_same_batch(alone.batch(images), batch)
    # Of sides that are powers of two, as the largest is many times as large as most.
    assert len(alone._lattices) <= 7 * 7 < len(sizes)
    few = [image for image in images if max(image.shape) < 4]
    assert_batch_is_made_of_singles(brain, few)
    near = [image for image in images if min(image.shape[1:]) > 16]
    again = VisionBrain(rounds=rounds, extend=extend, resize=None)
    assert_same_batch(again.batch(near), Batch.from_data_list([brain(image) for image in near]))
    assert len(again._lattices) == 1 < len(near)


@pytest.mark.parametrize("limit", [0, 10_000])
def test_forgotten_lattices_change_nothing(monkeypatch, limit):
    images = images_of_sizes()
    expected = VisionBrain(**OPTIONS).batch(images)
    monkeypatch.setattr(lattice_cache, "CACHED_EDGES", limit)
    brain = VisionBrain(**OPTIONS)
    for _ in range(2):
        assert_same_batch(brain.batch(images), expected)
    assert len(brain._lattices) < len({tuple(image.shape) for image in images})
    assert brain._lattices.num_edges <= limit


def test_arguments_are_left_alone():
    images = [torch.rand(1, 8, 8), torch.rand(3, 9, 8).numpy().transpose(1, 2, 0), Image.new("L", (8, 8), 99)]
    images.append(sparse_image((8, 8), 0))
    before, y = copy.deepcopy(images), torch.tensor([1, 2, 3, 4])
    batch = VisionBrain(rounds=(2, 1), **OPTIONS).batch(images, y)
    for image in images:
        VisionBrain(in_channels=3)(image)
    for image, old in zip(images, before, strict=True):
        np.testing.assert_array_equal(np.asarray(image), np.asarray(old))
    for _, value in batch:
        value.fill_(99)
    for image, old in zip(images, before, strict=True):
        np.testing.assert_array_equal(np.asarray(image), np.asarray(old))
    assert y.tolist() == [1, 2, 3, 4]


@pytest.mark.parametrize("count", [1, 2])
def test_changing_a_graph_changes_neither_brain_nor_images(count):
    brain = VisionBrain(**OPTIONS)
    images = torch.stack([sparse_image((12, 10), seed) for seed in range(count)])
    expected = VisionBrain(**OPTIONS).batch(images.clone())
    for graph in (brain(images[0]), brain.batch(images)):
        for _, value in graph:
            value.fill_(99)
    assert_same_batch(brain.batch(images), expected)


@pytest.mark.parametrize("count", [1, 2])
def test_changing_a_batch_does_not_change_the_classes_given(count):
    y = torch.arange(count)
    VisionBrain().batch(torch.zeros(count, 4, 4), y).y.add_(1)
    assert y.tolist() == list(range(count))


def test_config_makes_the_same_brain():
    for arguments in (
        {},
        {"in_channels": 3, "patch_size": 3, "threshold": 9, "margin": 2, "rounds": [1, 2], **OPTIONS},
    ):
        brain = VisionBrain(**arguments)
        assert arguments.items() <= brain.config.items()
        again = VisionBrain(**json.loads(json.dumps(brain.config)))
        assert again.config == brain.config
        assert again.metadata == brain.metadata
        assert repr(again) == repr(brain)
        images = images_of_sizes(3)
        assert_same_batch(again.batch(images), brain.batch(images))


@pytest.mark.parametrize("clone", [copy.copy, copy.deepcopy, lambda it: pickle.loads(pickle.dumps(it))])
def test_brain_survives_copying_and_pickling(clone):
    images = images_of_sizes()
    brain = VisionBrain(**OPTIONS)
    expected = brain.batch(images)
    assert_same_batch(clone(brain).batch(images), expected)
    assert_same_batch(clone(VisionBrain(**OPTIONS)).batch(images), expected)


# PyG


@pytest.mark.parametrize(
    "clone", [copy.copy, copy.deepcopy, lambda it: pickle.loads(pickle.dumps(it)), lambda it: it.clone()]
)
def test_graphs_survive_copying_and_pickling(clone):
    batch = VisionBrain(**OPTIONS).batch(images_of_sizes(), torch.arange(len(images_of_sizes())))
    assert_same_batch(clone(batch), batch)
    graphs = [clone(graph) for graph in batch.to_data_list()]
    assert {type(graph) for graph in graphs} == {ImageGraph}
    assert_same_batch(Batch.from_data_list(graphs), batch)


@pytest.mark.parametrize("options", [{}, OPTIONS], ids=str)
def test_data_loader_makes_the_same_batches(options):
    brain = VisionBrain(**options)
    images = images_of_sizes()
    y = torch.arange(len(images))
    graphs = brain.batch(images, y).to_data_list()
    batches = list(DataLoader(graphs, batch_size=5))
    assert [batch.num_graphs for batch in batches] == [5, 5, 2]
    for i, batch in enumerate(batches):
        part = slice(5 * i, 5 * i + 5)
        assert_same_batch(batch, brain.batch(images[part], y[part]))


def test_compose():
    transform = Compose([VisionBrain(**OPTIONS), Constant(value=3.0)])
    for image in images_of_sizes():
        graph = transform(image)
        plain = VisionBrain(**OPTIONS)(image)
        assert torch.equal(graph.x, torch.cat([plain.x, torch.full((plain.num_nodes, 1), 3.0)], dim=1))
        assert torch.equal(graph.edge_index, plain.edge_index)


@pytest.mark.parametrize("image", [torch.zeros(1, 1), torch.zeros(28, 28), sparse_image((28, 28), 0)])
def test_heterogeneous_graph_has_the_same_nodes_and_edges(image):
    brain = VisionBrain(**OPTIONS)
    node_types, edge_types = brain.metadata
    graph = brain.batch([image], [4])[0]
    hetero = graph.to_heterogeneous(node_type_names=node_types, edge_type_names=edge_types)
    assert (hetero.num_nodes, hetero.num_edges) == (graph.num_nodes, graph.num_edges)
    nodes = torch.bincount(graph.node_type, minlength=len(node_types)).tolist()
    edges = torch.bincount(graph.edge_type, minlength=len(edge_types)).tolist()
    for kind in hetero.node_types:
        of_kind = graph.node_type == node_types.index(kind)
        assert nodes[node_types.index(kind)] == hetero[kind].num_nodes
        for key in ("x", "pos", "level"):
            assert torch.equal(hetero[kind][key], graph[key][of_kind]), key
    for kind in hetero.edge_types:
        assert edges[edge_types.index(kind)] == hetero[kind].num_edges
        assert torch.equal(hetero[kind].edge_attr, graph.edge_attr[graph.edge_type == edge_types.index(kind)])
    assert hetero.y.tolist() == [4]
    assert torch.equal(hetero.image_size, graph.image_size)
    assert torch.equal(hetero.seg, graph.seg)


@pytest.mark.parametrize(
    "image", [torch.zeros(1, 1), torch.zeros(3, 4), torch.tensor([[0.0, 1.0]])], ids=["one pixel", "blank", "edge"]
)
def test_fields_of_small_graphs_are_filed_by_name(image):
    # One node, or two with one edge: as many as y and image_size have rows.
    graph = VisionBrain(rounds=(1, 1), **OPTIONS).batch([image], [4])[0]
    assert graph.num_nodes + graph.num_edges in (1, 3)
    assert set(graph.node_attrs()) == {"x", "pos", "node_type", "level"}
    assert set(graph.edge_attrs()) == {"edge_index", "edge_type", "edge_attr"}
    nothing = graph.subgraph(torch.zeros(graph.num_nodes, dtype=torch.bool))
    assert (nothing.num_nodes, nothing.num_edges) == (0, 0)
    for key in ("y", "image_size", "seg"):
        assert torch.equal(nothing[key], graph[key])


def test_fields_that_users_add_are_filed_by_length():
    graph = VisionBrain(relative=False)(sparse_image((12, 10), 0))
    assert 1 < graph.num_nodes != graph.num_edges
    graph.score, graph.strength = torch.rand(graph.num_nodes), torch.rand(graph.num_edges)
    assert (graph.is_node_attr("score"), graph.is_edge_attr("score")) == (True, False)
    assert (graph.is_node_attr("strength"), graph.is_edge_attr("strength")) == (False, True)


# Errors


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"mode": "blobs"}, r"mode: expected one of \('grid', 'blob', 'superpixel', 'hybrid'\), got 'blobs'"),
        ({"mode": None}, "mode: expected one of .*, got None"),
        ({"rings": 3}, r"rings: expected an option of mode 'grid', one of \['patch_size', "),
        *(({"in_channels": it}, "in_channels: expected 1 or 3, got ") for it in (0, 2, 4, True, 3.0, "1")),
        *(({"patch_size": it}, "patch_size: expected a positive integer, got ") for it in (0, -1, 2.0, True)),
        *(({"threshold": it}, "threshold: expected an integer in 0…254, got ") for it in (-1, 255, 0.5, "8", True)),
        *(({"margin": it}, "margin: expected a non-negative integer, got ") for it in (-1, 1.0, False)),
        ({"patch_size": 1, "margin": 0}, "margin: expected at least 1 for cells of one pixel"),
        ({"patch_size": 2, "margin": 8}, "margin: expected at most 2.5 times patch_size, 2, got 8"),
        ({"patch_size": 60, "margin": 3}, "patch_size: expected at most 4096 values in a cell with its margin, got 60"),
        ({"rounds": (17, 1)}, "rounds: expected at most 16 of an entity, got 17"),
        *(
            ({"rounds": it}, "rounds: expected at least two positive integers, got ")
            for it in ([], (3,), (2, 0), (2, 1.0), (True, 2), (1, -1), "ab", 3, None)
        ),
        *(({name: "no"}, f"{name}: expected .*, got 'no'") for name in ("edge_attr", "seg")),
    ],
)
def test_constructor_refuses(arguments, message):
    with pytest.raises(ValueError, match=f"^{message}"):
        VisionBrain(**arguments)


@pytest.mark.parametrize(
    ("y", "message"),
    [
        ([1], "y: expected 2 classes, one for each image, got 1"),
        ([], "y: expected 2 classes, one for each image, got 0"),
        ([1, 2, 3], "y: expected 2 classes, one for each image, got 3"),
        (torch.tensor(1), r"y: expected integers of shape \[N\], got .*shape \[\]"),
        ([0.5, 1.0], r"y: expected integers of shape \[N\], got 0.5 at position 0"),
        (["a", "b"], r"y: expected integers, got names: \['a', 'b'\]"),
        (3, r"y: expected integers of shape \[N\], got .*shape \[\]"),
        (torch.tensor([1j, 2]), r"y: expected integers of shape \[N\], got torch.complex64"),
    ],
)
@pytest.mark.parametrize("sizes", [[(4, 4), (4, 4)], [(4, 4), (5, 4)]])
def test_y_is_refused(y, message, sizes):
    with pytest.raises(ValueError, match=f"^{message}"):
        VisionBrain().batch([torch.zeros(size) for size in sizes], y)


@pytest.mark.parametrize("images", [[], (), torch.zeros(0, 4, 4), np.zeros((0, 4, 4, 3))])
def test_batch_of_nothing_is_refused(images):
    with pytest.raises(ValueError, match=r"^images: expected at least one image"):
        VisionBrain().batch(images)


def test_bad_images_are_refused():
    brain = VisionBrain()
    with pytest.raises(ValueError, match=r"^image: expected float values in \[0, 1\], got 2.0"):
        brain(torch.full((4, 4), 2.0))
    with pytest.raises(ValueError, match=r"^images\[1\]: expected uint8, or float in \[0, 1\]"):
        brain.batch([torch.zeros(4, 4), torch.zeros(4, 4).int()])
