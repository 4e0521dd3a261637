import torch

from grapheme_pyg import VisionBrain

# Light on the left of a middle line that runs through four cells of 2×2 pixels, and a light pixel apart.
IMAGE = torch.tensor(
    [
        [200, 0, 0, 0, 0, 0, 0, 0],
        [200, 0, 0, 0, 0, 0, 0, 0],
        [200, 0, 0, 0, 0, 0, 0, 0],
        [200, 0, 0, 0, 0, 0, 0, 200],
    ],
    dtype=torch.uint8,
)


def contour_edges(graph, brain):
    """Pairs of (row, column) of cells, from source to target."""
    node_types, edge_types = brain.metadata
    number = [i for i, (_, name, _) in enumerate(edge_types) if name == "same_contour"]
    kept = torch.isin(graph.edge_type, torch.tensor(number))
    height, width = graph.image_size[0].tolist()
    place = [(int(y * height / 2), int(x * width / 2)) for x, y in graph.pos.tolist()]
    assert {node_types[graph.node_type[i]] for i in graph.edge_index[0, kept]} <= {"cell0_round0"}
    return sorted((place[a], place[b]) for a, b in graph.edge_index[:, kept].t().tolist())


def test_cells_on_one_contour_are_related_both_ways():
    brain = VisionBrain(contours=True, margin=0, rounds=(2, 1))
    assert contour_edges(brain(IMAGE), brain) == [((0, 0), (1, 0)), ((1, 0), (0, 0))]


def test_contours_pass_corners():
    diagonal = torch.zeros(4, 4, dtype=torch.uint8)
    diagonal[range(4), range(4)] = 255
    brain = VisionBrain(contours=True, margin=0, rounds=(2, 1))
    assert contour_edges(brain(diagonal), brain) == [((0, 0), (1, 1)), ((1, 1), (0, 0))]


def test_nothing_is_related_on_blank_paper_nor_without_being_asked():
    brain = VisionBrain(contours=True, rounds=(2, 1))
    assert contour_edges(brain(torch.zeros(8, 8)), brain) == []
    assert not any(name == "same_contour" for _, name, _ in VisionBrain().metadata[1])


def test_superpixels_on_one_contour_touch():
    brain = VisionBrain("superpixel", num_regions=30, rounds=(2, 1), contours=True, seg=True, edge_attr=False)
    image = torch.zeros(28, 28, dtype=torch.uint8)
    image[6:20, 8:18] = 255
    graph = brain(image)
    name = [name for _, name, _ in brain.metadata[1]]
    pairs = [
        edge
        for edge, kind in zip(graph.edge_index.t().tolist(), graph.edge_type.tolist(), strict=True)
        if name[kind] == "same_contour"
    ]
    assert len(pairs) >= 4
    first = {node: pixel for pixel, node in enumerate(graph.seg.tolist())}
    assert {a for a, _ in pairs} <= set(first)
    # Only regions that have light pixels.
    light = set(graph.seg[image.flatten() > 0].tolist())
    assert {a for a, _ in pairs} <= light
