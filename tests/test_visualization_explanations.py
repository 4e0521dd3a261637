"""Pictures of explanations."""

import pytest
import torch
from matplotlib.collections import LineCollection
from torch_geometric.data import Data

from grapheme_pyg.explanation import Explanation
from grapheme_pyg.visualization import draw_explanation

IMAGE = torch.tensor([[0, 255, 0], [0, 0, 0]], dtype=torch.uint8)
# Three places; node 3 is node 0 in a later round.
POS = torch.tensor([[0.1, 0.5], [0.5, 0.5], [0.9, 0.5], [0.1, 0.5]])
EDGES = torch.tensor([[0, 1, 1, 0], [1, 3, 2, 3]])


def explanation(edges: list[float]) -> Explanation:
    pixels = torch.tensor([[0.0, 2.0, -1.0], [0.0, 0.0, 0.0]])
    graph = Data(pos=POS, edge_index=EDGES[:, : len(edges)], num_nodes=4)
    return Explanation(graph, "a", 0, "gradient", torch.tensor(edges), torch.zeros(4), pixels)


def lines(edges: list[float], max_edges: int = 100) -> LineCollection:
    (found,) = draw_explanation(explanation(edges), IMAGE, max_edges=max_edges).collections
    assert isinstance(found, LineCollection)
    return found


def test_colours() -> None:
    ax = draw_explanation(explanation([1.0]), IMAGE)
    red, green, blue, alpha = ax.images[1].get_array().transpose(2, 0, 1)
    assert alpha.tolist() == [[0, 1, 0.5], [0, 0, 0]]
    assert red[0, 1] > 2 * blue[0, 1]
    assert blue[0, 2] > 2 * red[0, 2]
    assert green.max() <= 1


def test_the_strongest_edges_once_and_last() -> None:
    # Between places 0 and 1: 1 + 2 = 3. From place 1 to 2: −4. The last stays where it is.
    found = lines([1.0, 2.0, -4.0, 9.0])
    ends = [sorted(round(float(x), 1) for x, _ in path.vertices) for path in found.get_paths()]
    assert ends == [[0.1, 0.5], [0.5, 0.9]]
    colours = found.get_colors()
    assert colours[:, 3].tolist() == [0.75, 1]
    assert colours[0, 0] > colours[0, 2]
    assert colours[1, 2] > colours[1, 0]
    assert len(lines([1.0, 2.0, -4.0, 9.0], max_edges=1).get_paths()) == 1
    assert len(lines([1.0], max_edges=0).get_paths()) == 0
    assert len(lines([]).get_paths()) == 0


def test_errors() -> None:
    with pytest.raises(ValueError, match=r"image: expected the size \[2, 3\], got \[3, 2\]"):
        draw_explanation(explanation([1.0]), IMAGE.T)
    with pytest.raises(ValueError, match="max_edges: expected a non-negative integer, got -1"):
        draw_explanation(explanation([1.0]), IMAGE, max_edges=-1)
