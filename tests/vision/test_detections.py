import numpy as np
import torch

from grapheme_pyg import VisionBrain
from grapheme_pyg.vision.detections import KINDS, MOST, _detect

# A light square of 12 pixels in a dark image of 24.
SQUARE = np.zeros((1, 24, 24), np.int64)
SQUARE[0, 6:18, 6:18] = 255


def found(image, kind):
    kinds, _, y, x, features = _detect(image)
    chosen = kinds == KINDS.index(kind)
    return sorted(zip(y[chosen].tolist(), x[chosen].tolist(), strict=True)), features[chosen]


def test_corners_of_a_square():
    corners, features = found(SQUARE, "corner")
    assert len(corners) == 4
    for (y, x), (near_y, near_x) in zip(corners, [(6, 6), (6, 17), (17, 6), (17, 17)], strict=True):
        assert max(abs(y - near_y), abs(x - near_x)) <= 1
    # Slopes both ways.
    assert (features[:, 1] > 0.4 * features[:, 0]).all()


def test_edges_of_a_square_know_their_direction():
    places, _ = found(SQUARE, "edge")
    kinds, _, y, x, features = _detect(SQUARE)
    assert len(places) >= 4
    for i in np.flatnonzero(kinds == KINDS.index("edge")):
        on_side = min(abs(x[i] - 6), abs(x[i] - 17)) <= 1 and 7 < y[i] < 16
        # The gradient runs along x on the upright sides: twice its angle has cosine 1.
        if on_side:
            np.testing.assert_allclose(features[i, 2:4], [1, 0], atol=1e-12)


def test_polarity_does_not_matter():
    assert found(SQUARE, "corner")[0] == found(255 - SQUARE, "corner")[0]


def test_blank_paper_has_none_and_noise_not_too_many():
    assert found(np.full((1, 9, 9), 77), "corner")[0] == found(np.full((1, 9, 9), 77), "edge")[0] == []
    noise = np.random.default_rng(0).integers(0, 256, (2, 80, 80))
    kinds, image, *_ = _detect(noise)
    for kind in range(len(KINDS)):
        for number in range(2):
            assert int(((kinds == kind) & (image == number)).sum()) <= MOST


def test_detections_are_nodes_inside_cells():
    brain = VisionBrain(detections=True, rounds=(2, 1), seg=True)
    graph = brain(torch.from_numpy(SQUARE[0].astype(np.uint8)))
    node_types, edge_types = brain.metadata
    corner = node_types.index("corner_round0")
    corners = (graph.node_type == corner).nonzero().flatten().tolist()
    assert len(corners) == 4
    inside = edge_types.index(("corner_round0", "inside", "cell0_round1"))
    contains = edge_types.index(("cell0_round0", "contains", "corner_round1"))
    edges = list(zip(*graph.edge_index.tolist(), graph.edge_type.tolist(), strict=True))
    for node in corners:
        x, y = (graph.pos[node] * 24).long().tolist()
        cell = int(graph.seg[y * 24 + x])
        cells = [target for source, target, kind in edges if source == node and kind == inside]
        assert [graph.pos[i].tolist() for i in cells] == [graph.pos[cell].tolist()]
        assert any(source == cell and kind == contains for source, _, kind in edges)
    near = edge_types.index(("edge_round0", "near", "corner_round1"))
    reached = {target for _, target, kind in edges if kind == near}
    assert len(reached) == 4
