from io import BytesIO

import matplotlib as mpl
import numpy as np
import pytest
import torch

from grapheme_pyg.evaluation import evaluate
from grapheme_pyg.vision import VisionBrain

mpl.use("Agg")

from matplotlib import pyplot as plt
from matplotlib.collections import LineCollection, PathCollection
from matplotlib.colors import to_hex
from matplotlib.figure import Figure

from grapheme_pyg.visualization import draw_calibration, draw_confusion, draw_dag, draw_hardest
from grapheme_pyg.visualization.evaluation import HITS, MISTAKES
from grapheme_pyg.visualization.text import WRONG

# A thousand of each class but the last, which has none; one single mistake.
CONFUSION = torch.tensor([[999, 1, 0], [40, 960, 0], [0, 0, 0]])
CLASSES = ["a", "b", "c"]


@pytest.fixture(autouse=True)
def no_figures_left():
    yield
    assert plt.get_fignums() == []


def texts(ax):
    return {(*text.get_position(), text.get_text()) for text in ax.texts}


def colors(ax):
    """The colour of each cell of the two layers, as drawn; a masked one has no opacity."""
    return [image.to_rgba(image.get_array()) for image in ax.images]


def test_draw_confusion():
    ax = draw_confusion(CONFUSION, CLASSES)
    ax.figure.savefig(BytesIO(), dpi=50)
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("predicted", "truth")
    assert ax.get_title() == "41 of 2,000 images mistaken"
    for axis in (ax.xaxis, ax.yaxis):
        assert [label.get_text() for label in axis.get_ticklabels()] == CLASSES
    # Truth downwards, predictions to the right; nothing is written where nothing happened.
    counts = {(0, 0, "999"), (1, 0, "1"), (0, 1, "40"), (1, 1, "960")}
    assert texts(ax) == counts | {(2.6, 0, "99.9 %"), (2.6, 1, "96.0 %"), (2.6, -0.6, "recognised")}


def test_colors_of_confusions():
    hits, mistakes = colors(draw_confusion(CONFUSION, CLASSES))
    assert (hits[..., 3] > 0).tolist() == [[True, False, False], [False, True, False], [False, False, False]]
    assert (mistakes[..., 3] > 0).tolist() == [[False, True, False], [True, False, False], [False, False, False]]
    # One image of the largest class has the palest colour of the scale, which is not white.
    assert to_hex(mistakes[0, 1]) == MISTAKES[0]
    assert np.abs(np.array(mpl.colors.to_rgb(MISTAKES[0])) - 1).max() > 0.1
    assert mistakes[1, 0, :3].sum() < mistakes[0, 1, :3].sum()
    (hits,) = colors(draw_confusion(torch.tensor([[7, 0], [0, 3]]), ["a", "b"]))[:1]
    assert to_hex(hits[0, 0]) == to_hex(hits[1, 1]) == HITS[-1]


def test_color_is_the_share_of_a_row():
    _, mistakes = colors(draw_confusion(torch.tensor([[90, 10], [1, 9]]), ["a", "b"]))
    assert to_hex(mistakes[0, 1]) == to_hex(mistakes[1, 0])


@pytest.mark.slow
def test_draw_confusion_of_few_images_and_of_many_classes(tmp_path):
    assert draw_confusion(torch.tensor([[1]]), ["only"]).get_title() == "0 of 1 images mistaken"
    ax = draw_confusion(torch.eye(60, dtype=torch.int64), [f"class {i}" for i in range(60)])
    ax.figure.savefig(tmp_path / "confusion.png", dpi=30)
    assert {text for _, _, text in texts(ax)} == {"100.0 %", "recognised"}


@pytest.mark.parametrize(
    ("confusion", "message"),
    [
        (torch.zeros(2, 3, dtype=torch.int64), r"expected an int64 tensor of shape \[3, 3\] .* \[2, 3\]"),
        (torch.eye(3), r"expected an int64 tensor of shape \[3, 3\] for 3 classes, got torch.float32"),
        (torch.zeros(3, 3, dtype=torch.int64), "at least one image and no negative counts, got counts with a sum of 0"),
        (torch.tensor([[5, 0, 0], [-1, 0, 0], [0, 0, 0]]), "expected at least one image and no negative counts"),
    ],
)
def test_draw_confusion_refuses(confusion, message):
    with pytest.raises(ValueError, match=f"confusion: .*{message}"):
        draw_confusion(confusion, CLASSES)


def evaluation():
    """Ten images of confidence 0.65, eight of them right, and 1,000 of confidence 1, all right."""
    probabilities = torch.tensor([[0.65, 0.35]] * 10 + [[1.0, 0.0]] * 1000)
    return evaluate(probabilities, torch.tensor([1, 1] + [0] * 1008))


def test_draw_calibration():
    ax = draw_calibration(evaluation())
    ax.figure.savefig(BytesIO(), dpi=50)
    bars = [(bar.get_x(), bar.get_width(), bar.get_height()) for bar in ax.patches]
    assert bars == [pytest.approx((60, 100 / 15, 80)), pytest.approx((100 * 14 / 15, 100 / 15, 100))]
    diagonal, dots = ax.lines
    assert diagonal.get_xydata().tolist() == [[0, 0], [100, 100]]
    assert dots.get_xydata().tolist() == [pytest.approx([65, 80]), pytest.approx([100, 100])]
    assert [text.get_text() for text in ax.texts] == ["10", "1,000", "images"]
    assert [text.get_position()[0] for text in ax.texts[:2]] == pytest.approx([60 + 50 / 15, 100 - 50 / 15])
    assert ax.get_title() == "expected calibration error 0.15 %"
    # Wilson's intervals of 8 of 10 and of 1,000 of 1,000.
    (intervals,) = (c for c in ax.collections if isinstance(c, LineCollection))
    ends = [segment[:, 1].tolist() for segment in intervals.get_segments()]
    assert ends == [pytest.approx([49.02, 94.33], abs=0.01), pytest.approx([99.617, 100], abs=0.001)]


def test_draws_where_it_is_told():
    axes = Figure().subplots(1, 2)
    assert draw_calibration(evaluation(), ax=axes[0]) is axes[0]
    assert draw_confusion(CONFUSION, CLASSES, ax=axes[1]) is axes[1]


def strokes():
    """Three images, of a diagonal, of nothing and of a bar, and their graphs."""
    images = torch.zeros(3, 16, 16, dtype=torch.uint8)
    images[0].fill_diagonal_(255)
    images[2, 4:6] = 200
    brain = VisionBrain()
    return images, [brain(image) for image in images]


PROBABILITIES = torch.tensor([[0.002, 0.998, 0.0], [0.5, 0.25, 0.25], [0.0, 0.1, 0.9]])
LABELS = torch.tensor([0, 0, 1])


def test_draw_hardest(tmp_path):
    images, graphs = strokes()
    figure = draw_hardest(images, graphs, PROBABILITIES, LABELS, CLASSES, columns=2)
    figure.savefig(tmp_path / "hardest.png", dpi=50)
    assert (tmp_path / "hardest.png").stat().st_size > 3_000
    assert len(figure.axes) == 4
    assert [ax.get_title() for ax in figure.axes] == ["a → b, 99.8 %", "a → a, 50.0 %", "b → c, 90.0 %", ""]
    assert [ax.title.get_color() for ax in figure.axes[:3]] == [WRONG, "black", WRONG]
    assert [ax.axison for ax in figure.axes] == [True, True, True, False]
    for ax, image in zip(figure.axes, images, strict=False):
        assert ax.get_legend() is None
        assert torch.equal(torch.from_numpy(ax.images[0].get_array()[..., 0]), image)


def test_draw_hardest_draws_the_finest_entities():
    images, graphs = strokes()
    figure = draw_hardest(images, graphs, PROBABILITIES, LABELS, CLASSES)
    for ax, graph in zip(figure.axes, graphs, strict=True):
        # Cells of two pixels: the first level's nodes, each at a place of its own.
        first = graph.pos[graph.level == graph.level.min()]
        (nodes,) = (c.get_offsets() for c in ax.collections if isinstance(c, PathCollection))
        assert sorted(nodes.tolist()) == sorted(first.tolist())
        lines = [c for c in ax.collections if isinstance(c, LineCollection)]
        assert len(lines) == (len(first) > 1)  # lateral ones alone
        for drawn in lines:
            ends = {tuple(end) for segment in drawn.get_segments() for end in segment.tolist()}
            assert ends == {tuple(place) for place in first.tolist()}
            assert max(drawn.get_linewidths()) < 0.7  # thin, or a small image could not be seen
    # Fewer than the whole graph has.
    assert len(figure.axes[0].collections) < len(draw_dag(graphs[0]).collections)


def test_draw_hardest_leaves_out_a_coarse_cell_with_the_centre_of_a_finest_one():
    # Of 100 pixels a side, cells of 4, 8 and 16 leave 4 for the last cell of each level.
    image = torch.zeros(100, 100, dtype=torch.uint8)
    image[90:, 90:].fill_diagonal_(255)
    graph = VisionBrain(resize=100)(image)
    finest = graph.pos[graph.level == 0].tolist()
    assert [graph.pos[graph.level == level].tolist()[-1] == finest[-1] for level in range(9)] == [True] * 9
    (ax,) = draw_hardest(image[None], [graph], PROBABILITIES[:1], LABELS[:1], CLASSES).axes
    (nodes,) = (c for c in ax.collections if isinstance(c, PathCollection))
    assert sorted(nodes.get_offsets().tolist()) == sorted(finest)
    assert len(set(nodes.get_sizes())) == 1
    assert len(ax.collections) == 2  # with the lateral edges


def test_draw_hardest_changes_no_graph():
    images, graphs = strokes()
    before = [graph.clone() for graph in graphs]
    draw_hardest(list(images), graphs, PROBABILITIES, LABELS, CLASSES)
    for graph, old in zip(graphs, before, strict=True):
        assert set(graph.keys()) == set(old.keys())
        assert all(torch.equal(graph[key], old[key]) for key in old.keys())  # noqa: SIM118


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"images": torch.zeros(0, 16, 16)}, "images: expected at least one image, got none"),
        ({"graphs": []}, "graphs: expected 3, as many as images, got 0"),
        ({"probabilities": PROBABILITIES[:2]}, r"probabilities: expected shape \[3, 3\], got \[2, 3\]"),
        ({"classes": ["a"]}, r"probabilities: expected shape \[3, 1\], got \[3, 3\]"),
        ({"probabilities": 2 * PROBABILITIES}, r"probabilities\[0\]: .* a sum of 2"),
        ({"labels": LABELS[:2]}, r"labels: expected an int64 tensor of shape \[3\]"),
        ({"labels": LABELS + 2}, r"labels: expected classes in \[0, 3\), got 2…3"),
        ({"columns": 0}, "columns: expected a positive integer, got 0"),
    ],
)
def test_draw_hardest_refuses(changed, message):
    images, graphs = strokes()
    arguments = {"images": images, "graphs": graphs, "probabilities": PROBABILITIES, "labels": LABELS}
    with pytest.raises(ValueError, match=message):
        draw_hardest(**(arguments | {"classes": CLASSES} | changed))
