from dataclasses import fields

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from grapheme_pyg.ops import compiled
from grapheme_pyg.testing import plain_operators
from grapheme_pyg.vision import VisionBrain, cell_edges
from grapheme_pyg.vision.grid import GridFinder
from grapheme_pyg.vision.unroll import Dag, Vocabulary, unroll

# Thresholds are tried with images of few levels.
pytestmark = pytest.mark.filterwarnings("ignore::grapheme_pyg.errors.ImageWarning")

NORTH_SOUTH = {-1: "north", 0: "", 1: "south"}
WEST_EAST = {-1: "west", 0: "", 1: "east"}


def place(dy, dx, middle):
    return f"{NORTH_SOUTH[dy]}_{WEST_EAST[dx]}".strip("_") or middle


def named_edges(brain, graph):
    """Edges as (source, relation, target), having checked that the named node types are those of the ends."""
    node_types, edge_types = brain.metadata
    edges = []
    for source, target, kind in zip(*graph.edge_index.tolist(), graph.edge_type.tolist(), strict=True):
        before, relation, after = edge_types[kind]
        assert (before, after) == tuple(node_types[graph.node_type[end]] for end in (source, target))
        edges.append((source, relation, target))
    return edges


# Four cells of 2×2 pixels: the north-western and the south-eastern one differ by 40 and 33 within.
SMALL = torch.tensor(
    [
        [0, 40, 5, 5],
        [0, 0, 5, 5],
        [10, 10, 0, 0],
        [10, 10, 0, 33],
    ],
    dtype=torch.uint8,
)


def test_literal_image():
    brain = VisionBrain(relative=False, threshold=32, margin=0, rounds=(2, 1))
    graph = brain(SMALL)
    # Nodes 0 and 1: the two cells; 2 and 3: the same in the next round; 4: the one coarse cell.
    names = [brain.metadata[0][kind] for kind in graph.node_type]
    assert names == ["cell0_round0", "cell0_round0", "cell0_round1", "cell0_round1", "cell1_round0"]
    assert graph.level.tolist() == [0, 0, 1, 1, 2]
    assert graph.pos.tolist() == [[0.25, 0.25], [0.75, 0.75], [0.25, 0.25], [0.75, 0.75], [0.5, 0.5]]
    assert graph.image_size.tolist() == [[4, 4]]
    assert named_edges(brain, graph) == [
        (0, "self", 2),
        (1, "south_east_of", 2),
        (0, "north_west_of", 3),
        (1, "self", 3),
        (2, "centre_part_of", 4),
        (3, "south_east_part_of", 4),
    ]
    # The coarse cell: sum 40 + 4·5 + 4·10 + 33 = 133, of squares 1600 + 4·25 + 4·100 + 1089 = 3189, so mean
    # 133/16 = 8.3125 and variance 3189/16 − 8.3125² = 130.21484375.
    expected = [[0, 40, 0, 0], [0, 0, 0, 33], [8.3125, 130.21484375**0.5, 0, 0]]
    torch.testing.assert_close(graph.x[[0, 1, 4]], torch.tensor(expected) / 255, rtol=0, atol=1e-7)


def test_columns_that_a_node_type_does_not_use_are_zero():
    brain = VisionBrain(relative=False, threshold=32, rounds=(2, 1), patch_size=3)
    graph = brain(SMALL)
    for features, kind in zip(graph.x, graph.node_type, strict=True):
        assert not features[brain.node_features[kind] :].any()


def test_margin_counts_pixels_around_a_cell():
    # Rows and columns 0…2 have 0…40, the north-eastern cell's 0…2 and 1…3 too; 1…3 and 0…2 only 0…10; 1…3 0…33.
    graph = VisionBrain(relative=False, threshold=32, rounds=(1, 1), margin=1)(SMALL)
    assert graph.pos[graph.level == 0].tolist() == [[0.25, 0.25], [0.75, 0.25], [0.75, 0.75]]


@pytest.mark.parametrize("threshold", [0, 1, 32, 254])
@pytest.mark.parametrize("background", [0, 100, 255])
@pytest.mark.parametrize("channel", [0, 2])
def test_threshold_has_to_be_exceeded(threshold, background, channel):
    brain = VisionBrain(relative=False, threshold=threshold, in_channels=3, rounds=(1, 1))
    for difference in (threshold, threshold + 1):
        for value in (background + difference, background - difference):
            if not 0 <= value <= 255:
                continue
            image = torch.full((3, 2, 2), background, dtype=torch.uint8)
            image[channel, 1, 0] = value
            # A fine and a coarse cell, or a single node.
            assert brain(image).num_nodes == (2 if difference > threshold else 1)


def reference(image, brain):
    """Nodes {(stage, row, column): (node type, centre, features)} and edges {(node, edge type, node)}."""
    channels, height, width = image.shape
    patch, last = brain.finder.patch_size, len(brain.finder.rounds) - 1

    def cut(row, column, side, margin=0):
        rows = slice(max(row * side - margin, 0), (row + 1) * side + margin)
        return image[:, rows, max(column * side - margin, 0) : (column + 1) * side + margin]

    rows, columns = -(-height // patch), -(-width // patch)
    fine = set()
    for row in range(rows):
        for column in range(columns):
            for pixels in cut(row, column, patch, brain.finder.margin).tolist():
                values = [value for line in pixels for value in line]
                if max(values) - min(values) > brain.finder.threshold:
                    fine.add((row, column))
    levels = [fine]
    while len(levels) == 1 or max(rows, columns) > 4:
        rows, columns = (rows + 1) // 2, (columns + 1) // 2
        near = {(row, column): {(2 * row + dy, 2 * column + dx) for dy in (-1, 0, 1) for dx in (-1, 0, 1)}
                for row in range(rows) for column in range(columns)}  # fmt: skip
        levels.append({cell for cell, parts in near.items() if parts & levels[-1]})

    def mean_and_spread(pixels):
        values = pixels.reshape(channels, -1).astype(np.float64) / 255
        return [*values.mean(axis=1), *values.std(axis=1)]

    nodes, edges = {}, set()
    stage, below = 0, None
    for level, cells in enumerate(levels):
        side, name = patch << level, f"cell{min(level, last)}"
        for round_ in range(brain.finder.rounds[min(level, last)]):
            own = f"{name}_round{round_}"
            for row, column in cells:
                y = (row * side + min((row + 1) * side, height)) / 2 / height
                x = (column * side + min((column + 1) * side, width)) / 2 / width
                if level == 0:
                    features = [
                        image[channel, min(max(j, 0), height - 1), min(max(i, 0), width - 1)] / 255
                        for channel in range(channels)
                        for j in range(row * side - brain.finder.margin, (row + 1) * side + brain.finder.margin)
                        for i in range(column * side - brain.finder.margin, (column + 1) * side + brain.finder.margin)
                    ]
                else:
                    features = mean_and_spread(cut(row, column, side))
                nodes[stage, row, column] = own, (x, y), features
                for dy in (-1, 0, 1):
                    for dx in (-1, 0, 1):
                        if round_ > 0 and (row + dy, column + dx) in cells:
                            relation = place(dy, dx, "self") + "_of" * ((dy, dx) != (0, 0))
                            source = stage - 1, row + dy, column + dx
                        elif round_ == 0 and level > 0 and (2 * row + dy, 2 * column + dx) in levels[level - 1]:
                            relation = place(dy, dx, "centre") + "_part_of"
                            source = stage - 1, 2 * row + dy, 2 * column + dx
                        else:
                            continue
                        edges.add((source, (below, relation, own), (stage, row, column)))
            stage, below = stage + 1, own
    if not fine:
        top = stage - brain.finder.rounds[min(level, last)], 0, 0
        nodes = {top: (f"{name}_round0", (0.5, 0.5), mean_and_spread(image))}
    return nodes, edges


@st.composite
def cases(draw):
    patch_size = draw(st.integers(1, 3))
    brain = VisionBrain(
        relative=False,
        in_channels=draw(st.sampled_from([1, 3])),
        patch_size=patch_size,
        threshold=draw(st.sampled_from([0, 32, 200])),
        margin=draw(st.integers(1 if patch_size == 1 else 0, 2)),
        rounds=draw(st.sampled_from([(1, 1), (2, 1), (1, 2), (3, 2, 1), (1, 2, 1, 2)])),
    )
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    shape = brain.in_channels, draw(st.integers(1, 20)), draw(st.integers(1, 20))
    # From blank to full of contrast, so that absent cells are met at every level.
    noise = rng.random(shape) < draw(st.sampled_from([0, 0.01, 0.05, 0.5]))
    return brain, np.where(noise, rng.integers(0, 256, shape), draw(st.integers(0, 255))).astype(np.uint8)


@given(cases())
@settings(deadline=None, max_examples=80, derandomize=True, database=None)
def test_random_images_against_a_loop_over_cells(case):
    brain, image = case
    graph = brain(torch.from_numpy(image))
    nodes, edges = reference(image, brain)
    keys = sorted(nodes)
    assert graph.level.tolist() == [stage for stage, _, _ in keys]
    assert [brain.metadata[0][kind] for kind in graph.node_type] == [nodes[key][0] for key in keys]
    np.testing.assert_allclose(graph.pos, [nodes[key][1] for key in keys], rtol=0, atol=1e-6)
    for features, kind, key in zip(graph.x, graph.node_type, keys, strict=True):
        used = brain.node_features[kind]
        np.testing.assert_allclose(features[:used], nodes[key][2], rtol=0, atol=1e-6)
    built = [
        (keys[source], brain.metadata[1][kind], keys[target])
        for source, target, kind in zip(*graph.edge_index.tolist(), graph.edge_type.tolist(), strict=True)
    ]
    assert len(built) == len(set(built))
    assert set(built) == edges


@given(cases())
@settings(deadline=None, max_examples=30, derandomize=True, database=None)
def test_inverted_image_has_the_same_structure(case):
    brain, image = case
    graph, inverted = brain(torch.from_numpy(image)), brain(torch.from_numpy(255 - image))
    for key in ("node_type", "level", "pos", "edge_index", "edge_type", "image_size"):
        assert torch.equal(graph[key], inverted[key]), key


@pytest.mark.parametrize(
    ("size", "grids"),
    [
        # Always at least one coarse level.
        ((1, 1), [(1, 1), (1, 1)]),
        ((8, 8), [(4, 4), (2, 2)]),
        ((9, 8), [(5, 4), (3, 2)]),
        ((16, 18), [(8, 9), (4, 5), (2, 3)]),
        ((28, 28), [(14, 14), (7, 7), (4, 4)]),
        ((29, 17), [(15, 9), (8, 5), (4, 3)]),
        ((2, 100), [(1, 50), (1, 25), (1, 13), (1, 7), (1, 4)]),
        ((100, 100), [(50, 50), (25, 25), (13, 13), (7, 7), (4, 4)]),
    ],
)
def test_levels_are_added_until_the_grid_is_at_most_4_by_4(size, grids):
    hierarchy = GridFinder(patch_size=2, in_channels=1, threshold=32, margin=0).lattice(*size)
    assert torch.bincount(hierarchy.level).tolist() == [rows * columns for rows, columns in grids]
    # Steps of 255 from pixel to pixel make every cell of more than one pixel active, so the graph is the same.
    image = (torch.arange(size[0])[:, None] + torch.arange(size[1])) % 2 * 255
    graph = VisionBrain(relative=False, rounds=(1, 1))(image.to(torch.uint8))
    if size != (1, 1):
        assert torch.bincount(graph.level).tolist() == [rows * columns for rows, columns in grids]


@pytest.mark.parametrize("in_channels", [1, 3])
@pytest.mark.parametrize(
    ("patch_size", "size", "top"),
    [
        (1, (1, 1), 1),
        (3, (1, 1), 1),
        (1, (5, 7), 1),
        (3, (5, 7), 1),
        (1, (9, 9), 2),
        (2, (28, 28), 2),
        (3, (28, 28), 2),
        # Five levels, of which the last three share their types.
        (2, (70, 66), 2),
    ],
)
def test_blank_image_is_one_top_node(in_channels, patch_size, size, top):
    brain = VisionBrain(
        relative=False, in_channels=in_channels, patch_size=patch_size, rounds=(3, 2, 2), edge_attr=True
    )
    graph = brain(torch.full(size, 51, dtype=torch.uint8))
    assert graph.num_nodes == 1
    assert graph.edge_index.shape == (2, 0)
    assert graph.edge_attr.shape == (0, 3)
    assert graph.pos.tolist() == [[0.5, 0.5]]
    assert brain.metadata[0][graph.node_type] == f"cell{top}_round0"
    # Mean 51/255 = 0.2 in each channel, then spread 0.
    expected = [0.2] * in_channels + [0.0] * (brain.num_features - in_channels)
    torch.testing.assert_close(graph.x, torch.tensor([expected]))
    assert not graph.x[0, in_channels:].any()


@pytest.mark.skipif(not compiled(), reason="nothing was compiled here")
@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"patch_size": 1},
        {"patch_size": 3, "margin": 0, "threshold": 100},
        {"patch_size": 5, "margin": 3, "threshold": 200},
        {"rounds": (1, 1, 1, 1), "extend": False},
    ],
)
def test_kernels_measure_as_pytorch_does_bit_for_bit(options: dict, channels: int) -> None:
    finder = GridFinder(in_channels=channels, **options)
    for size in ((1, 1), (2, 9), (28, 28), (31, 17), (64, 50)):
        images = torch.randint(256, (5, channels, *size), dtype=torch.uint8)
        images[1] //= 16  # hardly any contrast
        images[2] = 77  # none
        found = finder.measure(images)
        with plain_operators():
            expected = finder.measure(images)
        for one, other in zip(found, expected, strict=True):
            assert torch.equal(one, other)
    images = torch.randint(256, (6, channels, 40, 50), dtype=torch.uint8)
    sizes = torch.tensor([[40, 50], [1, 1], [31, 17], [40, 3], [8, 50], [9, 9]])
    found = finder.measure_within(images, sizes)
    with plain_operators():
        expected = finder.measure_within(images, sizes)
    for one, other in zip(found, expected, strict=True):
        assert torch.equal(one, other)
    assert found[3].tolist() == [finder.count_levels(height, width) for height, width in sizes.tolist()]


@pytest.mark.parametrize("rounds", [(1, 1), (2, 3, 2), (3, 1, 1, 2)], ids=str)
@pytest.mark.parametrize("extend", [True, False])
@pytest.mark.parametrize("size", [(1, 1), (1, 70), (5, 6), (40, 33)], ids=str)
def test_cells_are_unrolled_from_their_places(rounds, extend, size, monkeypatch):
    finder = GridFinder(rounds=rounds, extend=extend)
    vocabulary = Vocabulary(finder.schema())
    density = torch.tensor([0.0, 0.02, 0.2, 1.0]).view(-1, 1, 1, 1)
    pixels = torch.randint(256, (4, 1, *size), generator=torch.Generator().manual_seed(0))
    shown = torch.rand(pixels.shape, generator=torch.Generator().manual_seed(1)) < density
    hierarchy, features = finder.find((pixels * shown).byte())
    expected = unroll(hierarchy, vocabulary)
    for cells in (1, 50, 2**17):
        monkeypatch.setattr(cell_edges, "CELLS", cells)
        found, measured, dag = finder.find_unrolled((pixels * shown).byte(), vocabulary)
        assert torch.equal(measured, features)
        assert torch.equal(found.image, hierarchy.image)
        for field in fields(Dag):
            assert torch.equal(getattr(dag, field.name), getattr(expected, field.name)), field.name
