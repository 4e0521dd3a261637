"""Pictures and files that show what a model has learned."""

from io import BytesIO

import matplotlib as mpl
import networkx as nx
import numpy as np
import pytest
import torch

from grapheme_pyg import ImageClassificationModel, VisionBrain
from grapheme_pyg.nn.messages import messages
from grapheme_pyg.vision.image_graph import ImageGraph

mpl.use("Agg")

from matplotlib import pyplot as plt
from matplotlib.collections import LineCollection, PathCollection
from matplotlib.colors import to_hex
from matplotlib.figure import Figure

from grapheme_pyg.visualization import (
    draw_dag,
    draw_hardest,
    draw_learning_curves,
    draw_predictions,
    draw_templates,
    draw_weights,
    save_graph,
    to_networkx,
)
from grapheme_pyg.visualization.relations import CENTRE, DIRECTIONS, OTHERS, colors_of_relations
from grapheme_pyg.visualization.strengths import relative_strengths, strongest
from grapheme_pyg.visualization.weights import KERNELS


@pytest.fixture(autouse=True)
def no_figures_left():
    yield
    assert plt.get_fignums() == []


@pytest.fixture
def model():
    return ImageClassificationModel.from_preset("tiny", ["ring", "bar", "dot"])


@pytest.fixture
def graph(model):
    return model.vision(torch.eye(20))


def lines(ax):
    return [c for c in ax.collections if isinstance(c, LineCollection)]


def legend(ax):
    return ax.get_legend().get_title().get_text(), [text.get_text() for text in ax.get_legend().get_texts()]


def test_networks_have_states_and_strengths(model, graph):
    result, (states, strengths) = to_networkx(graph, model), messages(model.dag, graph)
    names = model.vision.metadata
    for node, values in result.nodes(data=True):
        kind = int(graph.node_type[node])
        width = model.dag.hidden_channels[kind]
        assert values["node_type"] == names[0][kind]
        assert values["state"] == tuple(states[node, :width].tolist())
        assert not states[node, width:].any()
    for i, (source, target) in enumerate(graph.edge_index.t().tolist()):
        relation = names[1][graph.edge_type[i]][1]
        assert result.edges[source, target] == {"edge_type": relation, "strength": float(strengths[i])}


def test_networks_refuse_two_sets_of_names(model, graph):
    with pytest.raises(ValueError, match="metadata: expected None with a model"):
        to_networkx(graph, model, metadata=model.vision.metadata)
    with pytest.raises(ValueError, match="model: expected an ImageClassificationModel or None, got tuple"):
        to_networkx(graph, model.vision.metadata)


def row_of_cells():
    """Three cells in a row, which the middle one hears in its next round; two edges go one way."""
    return ImageGraph(
        x=torch.zeros(6, 1),
        pos=torch.tensor([[0.2, 0.5], [0.5, 0.5], [0.8, 0.5]] * 2),
        node_type=torch.tensor([0, 0, 0, 1, 1, 1]),
        level=torch.tensor([0, 0, 0, 1, 1, 1]),
        edge_index=torch.tensor([[1, 0, 2], [3, 4, 4]]),
        edge_type=torch.tensor([1, 0, 1]),
        image_size=torch.tensor([[2, 6]]),
    )


ROW = (["a", "b"], [("a", "west_of", "b"), ("a", "east_of", "b")])


def test_relations_meet_halfway():
    ax = draw_dag(row_of_cells(), metadata=ROW, color="relation")
    west, east = lines(ax)
    # Each from the middle between two cells to the one that hears of the other.
    assert np.concatenate(west.get_segments()).tolist() == pytest.approx(np.array([[0.35, 0.5], [0.5, 0.5]]))
    expected = [[[0.35, 0.5], [0.2, 0.5]], [[0.65, 0.5], [0.5, 0.5]]]
    np.testing.assert_allclose(np.array(east.get_segments()), expected, rtol=1e-6)
    assert [to_hex(c.get_color()[0]) for c in (west, east)] == [DIRECTIONS["west"], DIRECTIONS["east"]]
    assert legend(ax) == ("3 entities, 3 relations", ["west of", "east of"])
    # By group, the two ways between the first cells are one line.
    assert [len(c.get_segments()) for c in lines(draw_dag(row_of_cells(), metadata=ROW))] == [2]


def test_colors_of_relations():
    names = ["north_west_of", "above", "self", "near", "north_part_of", "inside", "north_of_far", "centre_part_of"]
    colors = colors_of_relations(names)
    assert list(colors) == names
    assert len(set(colors.values())) == len(names)
    assert colors["north_west_of"] == DIRECTIONS["north_west"]
    assert colors["above"] == DIRECTIONS["north"]
    assert colors["self"] == CENTRE
    assert [colors["near"], colors["inside"]] == list(OTHERS[:2])
    paler, full, darker = (sum(mpl.colors.to_rgb(colors[n])) for n in ("north_part_of", "above", "north_of_far"))
    assert paler > full > darker


def test_strengths_are_compared_within_levels():
    strength, level = np.array([1.0, 2.0, 0.0, 30.0, 0.0]), np.array([1, 1, 1, 2, 3])
    expected = [1 / 1.98, 2 / 1.98, 0, 1, 0]  # between the second and the third of three, 0.98 of the way
    np.testing.assert_allclose(relative_strengths(strength, level), expected)


def test_strongest_edges_of_each_level():
    strength = np.array([5.0, 1, 4, 3, 2, 0.5, 9])
    level = np.array([1, 1, 1, 1, 1, 2, 3])
    # Levels 2 and 3 keep all they have, level 1 gets the rest.
    assert strongest(strength, level, 4).tolist() == [5, 2, 0, 6]
    assert strongest(strength, level, 7).tolist() == [5, 1, 4, 3, 2, 0, 6]
    # Fewer than levels: the biggest ones have some.
    assert strongest(strength, level, 2).tolist() == [0, 6]


def relative(model, graph):
    """Strengths as they are drawn, and the levels of the targets."""
    level = graph.level[graph.edge_index[1]].numpy()
    return relative_strengths(messages(model.dag, graph).strengths.numpy(), level), level


def test_widths_follow_strengths(model, graph):
    ax = draw_dag(graph, model=model, layout="levels")
    ax.figure.savefig(BytesIO(), dpi=40)
    shares, _ = relative(model, graph)
    is_self = [model.vision.metadata[1][kind][1] == "self" for kind in graph.edge_type.tolist()]
    expected = 0.7 * np.clip(2.5 * shares[is_self], 0.2, 2.5)
    own = lines(ax)[1].get_linewidths()
    np.testing.assert_allclose(own, np.sort(expected), rtol=1e-5)
    assert max(own) > 2 * min(own)
    assert legend(ax)[0].endswith(",\nas wide as strong within their level")


def test_of_coinciding_edges_the_strongest_is_drawn(model, graph):
    shares, _ = relative(model, graph)
    start, stop = graph.pos[graph.edge_index].tolist()
    best = {}
    for a, b, share in zip(start, stop, shares.tolist(), strict=True):
        if a != b:
            ends = tuple(sorted((tuple(a), tuple(b))))
            best[ends] = max(best.get(ends, 0), share)
    lateral = lines(draw_dag(graph, torch.eye(20), model=model))[0]
    for segment, width in zip(lateral.get_segments(), lateral.get_linewidths(), strict=True):
        share = best[tuple(sorted(map(tuple, segment.tolist())))]
        assert width == pytest.approx(np.clip(2.5 * share, 0.2, 2.5), rel=1e-5)


def test_thinned_to_the_strongest(model, graph):
    ax = draw_dag(graph, model=model, layout="levels", max_edges=50)
    shares, levels = relative(model, graph)
    kept = strongest(shares, levels, 50)
    drawn = [round(float(x)) for c in lines(ax) for x in np.array(c.get_segments())[:, 1, 0]]
    assert sorted(drawn) == sorted(levels[kept].tolist())
    assert legend(ax)[0].startswith(f"{graph.num_nodes} nodes, 50 strongest of {graph.num_edges:,} edges,")


@pytest.mark.parametrize("mode", ["blob", "hybrid"])
@pytest.mark.parametrize("layout", ["image", "levels"])
def test_relations_of_other_modes(mode, layout, tmp_path):
    model = ImageClassificationModel(VisionBrain(mode), 2)
    image = torch.zeros(24, 24, dtype=torch.uint8)
    image[4:9, 4:9], image[14:20, 5:20] = 250, 120
    graph = model.vision(image)
    ax = draw_dag(graph, image, model=model, layout=layout, color="relation")
    ax.figure.savefig(tmp_path / "graph.png", dpi=40)
    relations = [relation.replace("_", " ") for _, relation, _ in model.vision.metadata[1]]
    assert set(legend(ax)[1]) <= set(relations)


def test_draw_dag_refuses(model, graph):
    with pytest.raises(ValueError, match=r"color: expected one of \('group', 'relation'\), got 'level'"):
        draw_dag(graph, color="level")
    with pytest.raises(ValueError, match="metadata: expected names of relations, or a model"):
        draw_dag(graph, color="relation")
    with pytest.raises(ValueError, match="metadata: expected None with a model"):
        draw_dag(graph, model=model, metadata=model.vision.metadata)


def test_draw_weights(model, tmp_path):
    with torch.no_grad():
        for weight in model.dag.weight.values():
            weight.copy_(torch.arange(1.0, len(weight) + 1)[:, None, None].expand_as(weight))
            weight[:, ::2] *= -1  # a root mean square has no signs
    figure = draw_weights(model)
    figure.savefig(tmp_path / "weights.png", dpi=50)
    pairs = model.dag.vocabulary.pairs
    axes = [ax for ax in figure.axes if ax.images]
    table = np.ma.filled(axes[0].images[0].get_array(), np.nan)
    assert table.shape == (18, len(pairs))
    for column in table.T:
        np.testing.assert_allclose(column[~np.isnan(column)], np.arange(1, 10), rtol=1e-6)
    kernels = axes[1:]
    assert len(kernels) == len(pairs)
    for ax in kernels:
        np.testing.assert_allclose(ax.images[0].get_array(), [[1, 2, 3], [4, 5, 6], [7, 8, 9]], rtol=1e-6)
    assert kernels[0].get_title() == "cell0 round0 →\ncell0 round1"


def test_levels_and_relations_of_weights(model):
    ax = draw_weights(model).axes[0]
    relations = [label.get_text().replace(" ", "_") for label in ax.get_yticklabels()]
    assert relations == [*KERNELS[0], *KERNELS[1]]
    columns = [label.get_text() for label in ax.get_xticklabels()]
    table = np.ma.filled(ax.images[0].get_array(), np.nan)
    for i, column in enumerate(columns):
        # Lateral relations lead to later rounds of the same cells, part-of relations to the first of others.
        of_parts = column.endswith("round0")
        assert np.isnan(table[:9, i]).all() == of_parts
        assert np.isnan(table[9:, i]).any() != of_parts
    levels = [text.get_text() for text in ax.texts if text.get_text().startswith("level")]
    assert levels == [f"level {i}" for i in range(max(model.vision.node_levels) + 1)]


@pytest.mark.parametrize(("mode", "num_kernels"), [("blob", 0), pytest.param("hybrid", 7, marks=pytest.mark.slow)])
def test_weights_of_other_modes(mode, num_kernels, tmp_path):
    model = ImageClassificationModel(VisionBrain(mode), 2)
    figure = draw_weights(model)
    figure.savefig(tmp_path / "weights.png", dpi=30)
    kernels = [ax for ax in figure.axes if ax.images and ax.images[0].get_array().shape == (3, 3)]
    assert len(kernels) == num_kernels


def test_draw_templates(model, tmp_path):
    images = torch.randint(256, (30, 16, 16), dtype=torch.uint8)
    labels = torch.arange(30) % 3
    ax = draw_templates(model, images, labels, num_nearest=2)
    ax.figure.savefig(tmp_path / "templates.png", dpi=50)
    dots, *rest = (c for c in ax.collections if isinstance(c, PathCollection))
    stars, rings = rest[::2], rest[1::2]
    assert len(dots.get_offsets()) == 30
    assert [len(c.get_offsets()) for c in stars] == [model.classifier.templates.shape[1]] * 3
    assert [len(c.get_offsets()) for c in rings] == [2] * 3
    assert [c.get_label() for c in stars] == ["ring", "bar", "dot"]
    colors = [to_hex(color) for color in dots.get_facecolors()]
    assert colors[:3] == colors[3:6]
    assert len(set(colors)) == 3
    # The same images make the same picture.
    again = draw_templates(model, images, labels, num_nearest=2, ax=Figure().subplots())
    assert np.array_equal(again.collections[0].get_offsets(), dots.get_offsets())


def test_templates_lie_where_their_images_do(model, tmp_path):
    images = torch.randint(256, (9, 16, 16), dtype=torch.uint8)
    embedding = model.embed_images(images)
    with torch.no_grad():
        # Lengths do not matter: the first template of each class is thrice an embedding, the others are unset.
        model.classifier.templates.zero_()
        model.classifier.templates[:, 0] = 3 * embedding[:3]
    ax = draw_templates(model, images, torch.arange(9) % 3)
    dots, *rest = ax.collections
    for number, stars in enumerate(rest[::2]):
        np.testing.assert_allclose(stars.get_offsets(), dots.get_offsets()[[number]], atol=1e-6)
        # Nearest first, which is the embedding that the template was made of.
        np.testing.assert_allclose(rest[2 * number + 1].get_offsets()[0], stars.get_offsets()[0], atol=1e-6)


def test_templates_that_are_nearest_to_nothing_are_small():
    model = ImageClassificationModel(VisionBrain(), 3)
    images = torch.randint(256, (9, 16, 16), dtype=torch.uint8)
    with torch.no_grad():
        model.classifier.templates[:] = -model.embed_images(images).mean(dim=0)
        model.classifier.templates[:, 2] *= -1
    stars = draw_templates(model, images, torch.arange(9) % 3).collections[1::2]
    per_class = model.classifier.templates.shape[1]
    assert [np.argmax(c.get_sizes()) for c in stars] == [2] * 3
    assert all(len(c.get_sizes()) == per_class and np.sum(c.get_sizes() > 100) == 1 for c in stars)


def test_figures_can_be_given(model):
    images = torch.randint(256, (2, 16, 16), dtype=torch.uint8)
    graphs = [model.vision(image) for image in images]
    labels, probabilities = torch.tensor([0, 1]), torch.tensor([[0.7, 0.2, 0.1]] * 2)
    cosines = torch.zeros(2, 3)
    draw = [
        lambda figure: draw_weights(model, figure=figure),
        lambda figure: draw_learning_curves([{"epoch": 1, "train_loss": 0.5}], figure=figure),
        lambda figure: draw_hardest(images, graphs, probabilities, labels, model.classes, figure=figure),
        lambda figure: draw_predictions(
            images, graphs, ["ring"] * 2, cosines[:, 0], cosines, model.classes, figure=figure
        ),
    ]
    for function in draw:
        figure = Figure(figsize=(3, 7))
        assert function(figure) is figure
        assert figure.axes
        assert figure.get_size_inches().tolist() == [3, 7]


def test_plane_has_the_most_variance(model):
    images = torch.randint(256, (40, 16, 16), dtype=torch.uint8)
    ax = draw_templates(model, images, torch.arange(40) % 3)
    directions = torch.nn.functional.normalize(model.embed_images(images).double(), dim=-1).numpy()
    values = np.linalg.eigvalsh(np.cov(directions.T))[::-1]
    drawn = np.asarray(ax.collections[0].get_offsets()).var(axis=0, ddof=1)
    np.testing.assert_allclose(drawn, values[:2], rtol=1e-6)
    assert ax.get_xlabel() == f"{100 * values[0] / values.sum():.0f} % of the variance of 40 images"


def test_templates_of_many_classes_and_of_one_channel(tmp_path):
    model = ImageClassificationModel(VisionBrain(), 25, embedding_channels=1)
    images = torch.randint(256, (6, 16, 16), dtype=torch.uint8)
    ax = draw_templates(model, images, torch.arange(6))
    ax.figure.savefig(tmp_path / "templates.png", dpi=40)
    assert np.asarray(ax.collections[0].get_offsets())[:, 1].tolist() == [0] * 6


@pytest.mark.parametrize(
    ("images", "labels", "message"),
    [
        (torch.zeros(1, 8, 8), torch.zeros(1, dtype=torch.int64), "images: expected at least two, got 1"),
        (torch.zeros(2, 8, 8), torch.zeros(3, dtype=torch.int64), r"labels: expected torch.int64 of shape \[2\]"),
        (torch.zeros(2, 8, 8), torch.zeros(2), r"labels: expected .* got torch.float32 of shape \[2\]"),
        (torch.zeros(2, 8, 8), torch.tensor([0, 3]), "labels"),
    ],
)
def test_draw_templates_refuses(model, images, labels, message):
    with pytest.raises(ValueError, match=message):
        draw_templates(model, images, labels)


def test_graphml_can_be_read_again(model, graph, tmp_path):
    save_graph(graph, tmp_path / "graph.graphml", model)
    read, expected = nx.read_graphml(tmp_path / "graph.graphml", node_type=int), to_networkx(graph, model)
    assert type(read) is nx.DiGraph
    assert list(read) == list(expected)
    for node, values in expected.nodes(data=True):
        own = read.nodes[node]
        assert (own["level"], own["node_type"]) == (values["level"], values["node_type"])
        for key, value in {"pos": [own["x"], own["y"]], "state": own["state"].split()}.items():
            assert torch.equal(torch.tensor([float(v) for v in value]), torch.tensor(values[key]))
    assert set(read.edges) == set(expected.edges)
    for source, target, values in expected.edges(data=True):
        own = read.edges[source, target]
        assert own["edge_type"] == values["edge_type"]
        assert torch.equal(torch.tensor(own["strength"]), torch.tensor(values["strength"]))


def test_graphml_with_parallel_edges(tmp_path):
    graph = row_of_cells()
    graph.edge_index[0, 2] = 0
    save_graph(graph, tmp_path / "graph.graphml", metadata=ROW)
    read = nx.read_graphml(tmp_path / "graph.graphml", node_type=int)
    assert sorted(read.edges(data="edge_type")) == [(0, 4, "east_of"), (0, 4, "west_of"), (1, 3, "east_of")]


@pytest.mark.parametrize("suffix", ["dot", "gv"])
def test_dot(suffix, tmp_path):
    graph = row_of_cells().subgraph(torch.tensor([0, 4]))
    path = tmp_path / f"graph.{suffix}"
    # The longer side is 720 points; names that need escapes, as only metadata of others have.
    save_graph(graph, path, metadata=(["a", 'b "\\'], [("a", "west_of", "b"), ("a", "east_of", "b")]))
    assert path.read_text(encoding="utf-8") == (
        "digraph {\n"
        '  node [shape=point, width=0.08]; edge [color="#2f9bd8", arrowsize=0.3];\n'
        '  0 [level="0", node_type="a", x="0.200000003", y="0.5", pos="144.000002,120"];\n'
        '  1 [level="1", node_type="b \\"\\\\", x="0.5", y="0.5", pos="360,120"];\n'
        '  0 -> 1 [edge_type="west_of"];\n'
        "}\n"
    )


def test_dot_has_widths(model, graph, tmp_path):
    save_graph(graph, tmp_path / "graph.dot", model)
    text = (tmp_path / "graph.dot").read_text()
    assert text.count(" -> ") == text.count("strength=") == text.count("penwidth=") == graph.num_edges
    assert 'penwidth="3.0"' in text


def test_save_graph_refuses_other_suffixes(graph, tmp_path):
    with pytest.raises(ValueError, match=r"path: expected a suffix of .*, got 'graph.json'"):
        save_graph(graph, tmp_path / "graph.json")
