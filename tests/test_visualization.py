from io import BytesIO
from itertools import pairwise

import matplotlib as mpl
import networkx as nx
import numpy as np
import pytest
import torch
from torch_geometric.data import Batch

from grapheme_pyg.vision import VisionBrain
from grapheme_pyg.vision.image_graph import ImageGraph

mpl.use("Agg")

from matplotlib import pyplot as plt
from matplotlib.collections import LineCollection, PathCollection
from matplotlib.figure import Figure

from grapheme_pyg.visualization import draw_dag, draw_learning_curves, draw_predictions, to_networkx

METADATA = (
    ["cell0_round0", "cell0_round1", "cell1_round0"],
    [
        ("cell0_round0", "self", "cell0_round1"),
        ("cell0_round0", "west_of", "cell0_round1"),
        ("cell0_round0", "east_of", "cell0_round1"),
        ("cell0_round1", "centre_part_of", "cell1_round0"),
        ("cell0_round1", "east_part_of", "cell1_round0"),
    ],
)


@pytest.fixture
def graph():
    """Two cells side by side, each in two rounds, and the cell that both are part of, lower down."""
    return ImageGraph(
        x=torch.zeros(5, 1),
        pos=torch.tensor([[0.25, 0.25], [0.75, 0.25], [0.25, 0.25], [0.75, 0.25], [0.5, 0.5]]),
        node_type=torch.tensor([0, 0, 1, 1, 2]),
        level=torch.tensor([0, 0, 1, 1, 2]),
        edge_index=torch.tensor([[0, 1, 0, 1, 2, 3], [2, 2, 3, 3, 4, 4]]),
        edge_type=torch.tensor([0, 2, 1, 0, 3, 4]),
        image_size=torch.tensor([[4, 8]]),
    )


@pytest.fixture
def lone_node():
    return ImageGraph(
        x=torch.zeros(1, 1),
        pos=torch.tensor([[0.5, 0.5]]),
        node_type=torch.tensor([2]),
        level=torch.tensor([5]),
        edge_index=torch.zeros(2, 0, dtype=torch.int64),
        edge_type=torch.zeros(0, dtype=torch.int64),
        image_size=torch.tensor([[4, 8]]),
    )


@pytest.fixture(autouse=True)
def no_figures_left():
    yield
    assert plt.get_fignums() == []


def drawn(ax):
    """Number of nodes, and of edges by group."""
    nodes = sum(len(c.get_offsets()) for c in ax.collections if isinstance(c, PathCollection))
    return nodes, [len(c.get_segments()) for c in ax.collections if isinstance(c, LineCollection)]


def legend(ax):
    return ax.get_legend().get_title().get_text(), [text.get_text() for text in ax.get_legend().get_texts()]


def test_to_networkx(graph):
    result = to_networkx(graph, metadata=METADATA)
    assert nx.is_directed_acyclic_graph(result)
    assert list(result.nodes(data=True)) == [
        (0, {"pos": (0.25, 0.25), "level": 0, "node_type": "cell0_round0"}),
        (1, {"pos": (0.75, 0.25), "level": 0, "node_type": "cell0_round0"}),
        (2, {"pos": (0.25, 0.25), "level": 1, "node_type": "cell0_round1"}),
        (3, {"pos": (0.75, 0.25), "level": 1, "node_type": "cell0_round1"}),
        (4, {"pos": (0.5, 0.5), "level": 2, "node_type": "cell1_round0"}),
    ]
    assert {edge[:2]: edge[2] for edge in result.edges(data="edge_type")} == {
        (0, 2): "self",
        (1, 2): "east_of",
        (0, 3): "west_of",
        (1, 3): "self",
        (2, 4): "centre_part_of",
        (3, 4): "east_part_of",
    }


def test_to_networkx_has_plain_numbers_without_names(graph, lone_node):
    result = to_networkx(graph)
    assert nx.get_node_attributes(result, "node_type") == {0: 0, 1: 0, 2: 1, 3: 1, 4: 2}
    assert result.edges[1, 2] == {"edge_type": 2}
    assert all(type(value) in (int, tuple) for node in result.nodes.values() for value in node.values())
    assert type(result.edges[1, 2]["edge_type"]) is int
    assert list(to_networkx(lone_node).nodes(data=True)) == [(0, {"pos": (0.5, 0.5), "level": 5, "node_type": 2})]


def test_to_networkx_refuses_what_it_would_lose(graph):
    graph.edge_index[0, 1] = 0
    with pytest.raises(ValueError, match="several from node 0 to node 2"):
        to_networkx(graph)


def test_to_networkx_of_a_real_graph():
    brain = VisionBrain()
    data = brain(torch.eye(12))
    result = to_networkx(data, metadata=brain.metadata)
    assert nx.is_directed_acyclic_graph(result)
    assert (len(result), result.number_of_edges()) == (data.num_nodes, data.num_edges)


def test_image_layout_draws_rounds_once_and_no_self_edges(graph):
    ax = draw_dag(graph)
    assert drawn(ax) == (3, [1, 2])
    assert legend(ax) == ("3 entities, 3 relations", ["lateral", "part of"])
    sizes = next(c for c in ax.collections if isinstance(c, PathCollection)).get_sizes()
    assert sizes[0] == sizes[1] < sizes[2]
    assert ax.get_aspect() == 0.5


def test_levels_layout_draws_every_node_and_edge(graph):
    ax = draw_dag(graph, layout="levels", metadata=METADATA)
    assert drawn(ax) == (5, [2, 2, 2])
    assert legend(ax) == ("5 nodes, 6 edges", ["lateral", "self", "part of"])
    assert [label.get_text() for label in ax.get_xticklabels()] == ["cell0\nround0", "cell0\nround1", "cell1\nround0"]
    nodes = next(c for c in ax.collections if isinstance(c, PathCollection)).get_offsets()
    assert np.asarray(nodes)[:, 0].tolist() == [0, 0, 1, 1, 2]
    assert nodes[0, 1] == -nodes[1, 1] < 0 == nodes[4, 1]  # the y axis points down


@pytest.mark.parametrize(("width", "upright"), [(6, False), (5, True)])
def test_names_of_columns_do_not_overlap(width, upright):
    vision = VisionBrain("hybrid")  # which has most of them
    y, x = torch.meshgrid(torch.arange(28.0), torch.arange(28.0), indexing="ij")
    soft_ring = (1 - (torch.hypot(y - 14, x - 14) - 7).abs() / 5).clamp(0, 1)
    figure = Figure(figsize=(width, 4), layout="constrained")
    ax = draw_dag(vision(soft_ring), metadata=vision.metadata, layout="levels", ax=figure.subplots())
    figure.draw_without_rendering()
    labels = ax.get_xticklabels()
    assert {label.get_rotation() for label in labels} == {90.0 if upright else 0.0}
    boxes = [label.get_window_extent() for label in labels]
    assert len(boxes) == 11
    assert all(left.x1 < right.x0 for left, right in pairwise(boxes))


def test_markers_grow_up_to_a_limit():
    # One entity for each level: every level is a scale of its own.
    graph = ImageGraph(
        x=torch.zeros(9, 1),
        pos=torch.linspace(0.1, 0.9, 9)[:, None].expand(9, 2),
        node_type=torch.zeros(9, dtype=torch.int64),
        level=torch.arange(9),
        edge_index=torch.stack([torch.arange(8), torch.arange(1, 9)]),
        edge_type=torch.zeros(8, dtype=torch.int64),
        image_size=torch.tensor([[4, 4]]),
    )
    for layout in ("image", "levels"):
        sizes = draw_dag(graph, layout=layout).collections[-1].get_sizes()
        np.testing.assert_allclose(sizes[1:5] / sizes[:4], 1.4**2)
        np.testing.assert_allclose(sizes[4:], sizes[4])


def test_levels_follow_the_image_row_by_row(graph):
    graph.pos = torch.tensor([[0.2, 0.9], [0.8, 0.1], [0.2, 0.9], [0.8, 0.1], [0.5, 0.5]])
    nodes = draw_dag(graph, layout="levels").collections[-1].get_offsets()
    assert nodes[1, 1] < nodes[0, 1]


def test_image_coincides_with_pos(graph):
    image = torch.zeros(4, 8, dtype=torch.uint8)
    image[1, 6] = 255
    ax = draw_dag(graph, image)
    (shown,) = ax.images
    assert shown.get_extent() == [0, 1, 1, 0]
    assert (ax.get_xlim(), ax.get_ylim()) == ((0, 1), (1, 0))
    # The centre of row 1, column 6, on the axes and back in the image.
    x, y = ax.transData.transform(((6 + 0.5) / 8, (1 + 0.5) / 4))
    event = type("Event", (), {"x": x, "y": y, "xdata": (6 + 0.5) / 8, "ydata": (1 + 0.5) / 4})
    assert shown.get_cursor_data(event).tolist() == [255, 255, 255]


@pytest.mark.parametrize("shape", [(4, 8), (1, 4, 8), (3, 4, 8)])
def test_every_kind_of_image(graph, shape):
    assert draw_dag(graph, torch.rand(shape)).images[0].get_array().shape == (4, 8, 3)


@pytest.mark.parametrize("layout", ["image", "levels"])
@pytest.mark.parametrize("metadata", [METADATA, None])
def test_one_node(lone_node, layout, metadata):
    ax = draw_dag(lone_node, torch.zeros(4, 8), layout=layout, metadata=metadata)
    ax.figure.savefig(BytesIO(), dpi=40)
    assert drawn(ax) == (1, [])


def test_thinning_says_so(graph):
    ax = draw_dag(graph, layout="levels", max_edges=3)
    assert sum(drawn(ax)[1]) == 3
    assert legend(ax)[0] == "5 nodes, 3 of 6 edges"
    assert legend(draw_dag(graph, max_edges=2))[0] == "3 entities, 2 of 3 relations"


def test_draws_where_it_is_told_and_changes_no_data(graph):
    before = graph.clone()
    ax = Figure().subplots()
    assert draw_dag(graph, torch.zeros(4, 8), ax=ax) is ax
    assert draw_dag(graph, layout="levels", metadata=METADATA, ax=Figure().subplots()) is not ax
    assert set(graph.keys()) == set(before.keys())
    assert all(torch.equal(graph[key], before[key]) for key in graph.keys())  # noqa: SIM118


def test_wrong_arguments(graph):
    with pytest.raises(ValueError, match=r"layout: expected one of \['image', 'levels'\], got 'spring'"):
        draw_dag(graph, layout="spring")
    with pytest.raises(ValueError, match="max_edges: expected a positive integer, got 0"):
        draw_dag(graph, max_edges=0)
    with pytest.raises(ValueError, match="data: expected the graph of one image, got a batch of 2"):
        draw_dag(Batch.from_data_list([graph, graph]))
    del graph.level
    with pytest.raises(ValueError, match=r"without \['level'\]"):
        to_networkx(graph)


def predictions(graph, lone_node):
    similarities = torch.tensor([[0.9, -0.2, 0.1], [0.3, 0.4, -0.5]])
    images = torch.randint(256, (2, 4, 8), dtype=torch.uint8)
    return [images, [graph, lone_node], ["a", "b"], torch.tensor([0.998, 0.5]), similarities, ["a", "b", "c"]]


def test_draw_predictions(graph, lone_node, tmp_path):
    figure = draw_predictions(*predictions(graph, lone_node), truth=["a", "c"], metadata=METADATA)
    figure.savefig(tmp_path / "predictions.png", dpi=50)
    assert (tmp_path / "predictions.png").stat().st_size > 5_000
    assert len(figure.axes) == 6
    titles = [figure.axes[i].title for i in (0, 3)]
    assert [title.get_text() for title in titles] == ["predicted a (99.8 %), truth a", "predicted b (50.0 %), truth c"]
    assert titles[0].get_color() == "black" != titles[1].get_color()
    bars = figure.axes[2].patches
    assert [bar.get_width() for bar in bars] == pytest.approx([0.9, -0.2, 0.1])
    assert bars[0].get_facecolor() != bars[1].get_facecolor() == bars[2].get_facecolor()


def test_draw_predictions_of_many_classes(graph):
    similarities = torch.linspace(-1, 1, 100)[None]
    classes = [str(i) for i in range(100)]
    figure = draw_predictions(torch.zeros(1, 3, 4, 8), [graph], ["99"], torch.tensor([1.0]), similarities, classes)
    assert [label.get_text() for label in figure.axes[2].get_yticklabels()] == classes[-12:]
    assert figure.axes[0].get_title() == "predicted 99 (100.0 %)"


@pytest.mark.parametrize(
    ("position", "value", "message"),
    [
        (0, torch.zeros(0, 4, 8), "images: expected at least one"),
        (1, [], "graphs: expected 2, as many as images, got 0"),
        (2, ["a"], "labels: expected 2, as many as images, got 1"),
        (3, torch.zeros(3), r"confidences: expected shape \[2\], got \[3\]"),
        (4, torch.zeros(2, 4), r"similarities: expected shape \[2, 3\], got \[2, 4\]"),
    ],
)
def test_draw_predictions_refuses(graph, lone_node, position, value, message):
    arguments = predictions(graph, lone_node)
    arguments[position] = value
    with pytest.raises(ValueError, match=message):
        draw_predictions(*arguments)


def test_draw_learning_curves(tmp_path):
    metrics = [
        {"epoch": 1, "train_loss": 0.5, "val_loss": 0.2, "val_accuracy": 0.95, "learning_rate": 0.01},
        {"epoch": 2, "train_loss": 0.1, "val_loss": 0.1, "val_accuracy": 0.99, "learning_rate": 0.01},
        {"epoch": 3, "train_loss": 0.05, "val_accuracy": 0.98, "learning_rate": 0.001},
    ]
    figure = draw_learning_curves(metrics)
    figure.savefig(tmp_path / "curves.png", dpi=50)
    assert (tmp_path / "curves.png").stat().st_size > 3_000
    losses, accuracy = figure.axes
    assert losses.get_yscale() == "log"
    assert [len(line.get_xdata()) for line in losses.lines] == [3, 2]
    assert list(accuracy.lines[0].get_ydata()) == pytest.approx([95, 99, 98])
    assert accuracy.get_title() == "98.00 % after epoch 3"
    low, high = accuracy.get_ylim()
    assert 94 < low < 95 < 99 < high <= 100


def test_draw_learning_curves_of_a_single_class():
    """Its losses are 0, of which there is no logarithm; matplotlib would warn."""
    losses, _ = draw_learning_curves([{"epoch": 1, "train_loss": 0.0, "val_loss": 0.0, "val_accuracy": 1.0}]).axes
    assert losses.get_yscale() == "linear"


def test_draw_learning_curves_of_training_without_validation(tmp_path):
    figure = draw_learning_curves([{"epoch": 1, "train_loss": 0.5}])
    figure.savefig(tmp_path / "curves.png", dpi=50)
    assert [len(ax.lines) for ax in figure.axes] == [1, 0]


def test_draw_learning_curves_refuses():
    with pytest.raises(ValueError, match="metrics: expected at least one epoch"):
        draw_learning_curves([])
    with pytest.raises(ValueError, match=r"metrics\[1\]: expected the keys epoch and train_loss, got \['epoch'\]"):
        draw_learning_curves([{"epoch": 1, "train_loss": 1.0}, {"epoch": 2}])
