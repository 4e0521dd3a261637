import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from test_brain import assert_acyclic, assert_batch_is_made_of_singles
from torch import Tensor

from grapheme_pyg import VisionBrain
from grapheme_pyg.testing import check_graph
from grapheme_pyg.vision import ImageGraph

WIDTH, HEIGHT = 9, 7
T = "......... .#######. ....#.... ....#.... ....#.... ....#.... ........."
RING = "....... .#####. .#...#. .#...#. .#...#. .#####. ......."


def image_of(picture: str) -> Tensor:
    return torch.tensor([[255 * (letter == "#") for letter in row] for row in picture.split()], dtype=torch.uint8)


def brain_of(**options: object) -> VisionBrain:
    return VisionBrain("blob", **{"relative": False, "stroke_rounds": 2, "blob_rounds": 1, "seg": True} | options)


def relations(brain: VisionBrain, graph: ImageGraph) -> set[tuple[int, str, int]]:
    """Edges as source, relation and target; nodes of later rounds count as those of the first."""
    node_types, edge_types = brain.metadata
    strokes = int((graph.node_type == node_types.index("stroke_round0")).sum())

    def entity(node: int) -> int:
        return node - strokes if strokes <= node else node

    return {
        (entity(source), edge_types[kind][1], entity(target))
        for (source, target), kind in zip(graph.edge_index.T.tolist(), graph.edge_type.tolist(), strict=True)
    }


def test_strokes_of_a_t_are_related_by_direction():
    # The ends of the bar are strokes 0 and 2, the stem is 3, and the junction with its neighbours is 1.
    brain = brain_of()
    graph = brain(image_of(T))
    assert graph.seg.view(HEIGHT, WIDTH)[1].tolist() == [8, 0, 0, 1, 1, 1, 2, 2, 8]
    assert graph.seg.view(HEIGHT, WIDTH)[:, 4].tolist() == [8, 1, 1, 3, 3, 3, 8]
    centres = torch.tensor([[2.0, 1.5], [4.5, 1.75], [7.0, 1.5], [4.5, 4.5]]) / torch.tensor([WIDTH, HEIGHT])
    torch.testing.assert_close(graph.pos[:4], centres)
    # Entities 4 and 5 are the blobs: the background, of which the first pixel comes first, and the T.
    assert relations(brain, graph) == {
        *((stroke, "self", stroke) for stroke in range(4)),
        (0, "west_of_joined", 1),
        (1, "east_of_joined", 0),
        (2, "east_of_joined", 1),
        (1, "west_of_joined", 2),
        (3, "south_of_joined", 1),
        (1, "north_of_joined", 3),
        (0, "west_of_near", 2),
        (2, "east_of_near", 0),
        (0, "north_west_of_near", 3),
        (3, "south_east_of_near", 0),
        (2, "north_east_of_near", 3),
        (3, "south_west_of_near", 2),
        (0, "west_part_of", 5),
        (1, "centre_part_of", 5),
        (2, "east_part_of", 5),
        (3, "south_part_of", 5),
    }


def test_features_of_the_stem_of_a_t():
    brain = brain_of(raster=3)
    stem = brain(image_of(T)).x[3]
    # One pixel wide and three high, it fills its box, is upright, has one end, no junction, and is white.
    area, width, height, fill, cosine, sine, eccentricity, ends, arms, mean, spread, *raster = stem[:20].tolist()
    assert (area, width, height, fill) == pytest.approx(((3 / 63) ** 0.5, 1 / 9, 3 / 7, 1))
    # Second moments of unit squares: 1/12 across, 2/3 + 1/12 along.
    assert (cosine, sine, eccentricity) == pytest.approx((-2 / 3 / (10 / 12), 0, (8 / 9) ** 0.5))
    assert (ends, arms, mean, spread) == (0.5, 0, 1, 0)
    assert raster == [0, 1, 0] * 3
    assert not stem[20:].any()


def test_strokes_of_a_ring_surround_its_hole():
    brain = brain_of(blob_rounds=2)
    graph = brain(image_of(RING))
    found = relations(brain, graph)
    node_types, _ = brain.metadata
    names = [node_types[kind] for kind in graph.node_type.tolist()]
    strokes = names.count("stroke_round0")
    # The skeleton has no corners, and half of it is 34 fifths of a pixel long: three pieces of at most three pixels.
    assert strokes == 6
    joined = {(a, b) for a, name, b in found if name.endswith("joined")}
    assert sorted(b for _, b in joined) == sorted(2 * list(range(6)))
    # The background, the ring and the hole, in two rounds.
    blobs = ["dark0", "light0", "dark0"]
    assert names[2 * strokes :] == [f"{name}_round{number}" for number in range(2) for name in blobs]
    assert (strokes + 2, "inside", strokes + 4) in found
    assert {whole for _, name, whole in found if name.endswith("part_of")} == {strokes + 1}


def test_dark_figures_have_the_strokes_of_light_ones():
    brain = brain_of()
    light, dark = brain(image_of(T)), brain(255 - image_of(T))
    assert torch.equal(light.seg, dark.seg)
    assert torch.equal(light.x[:8], dark.x[:8])
    before, after = relations(brain, light), relations(brain, dark)
    assert before == after


def test_only_the_largest_strokes_are_kept():
    brain = brain_of(max_blobs=2)
    graph = brain(image_of(T))
    # The junction, of four pixels, and the stem, of three, are left.
    assert graph.seg.view(HEIGHT, WIDTH)[1].tolist() == [4, 5, 5, 0, 0, 0, 5, 5, 4]
    assert {name for _, name, _ in relations(brain, graph)} == {
        "self",
        "south_of_joined",
        "north_of_joined",
        "centre_part_of",
        "south_part_of",
    }


def test_without_strokes_blobs_have_rasters_at_four_thresholds():
    brain = VisionBrain("blob", stroke_rounds=0)
    assert brain.config["thresholds"] == [32, 96, 160, 224]
    assert brain.config["raster"] == 8
    assert len(brain.metadata[1]) == 120
    assert not any("stroke" in name for name in brain.metadata[0])


@settings(deadline=None, max_examples=30, derandomize=True, database=None)
@given(
    shape=st.tuples(st.integers(1, 20), st.integers(1, 20)),
    seed=st.integers(0, 2**32 - 1),
    density=st.sampled_from([0.1, 0.4, 0.7, 0.95]),
    channels=st.sampled_from([1, 3]),
)
def test_graphs_of_any_image_are_valid_alone_and_in_a_batch(shape, seed, density, channels):
    generator = torch.Generator().manual_seed(seed)
    images = [
        (torch.rand(channels, *size, generator=generator) < density).byte() * level
        for size in (shape, shape, shape[::-1])
        for level in (255, 120)
    ]
    brain = VisionBrain("blob", in_channels=channels, edge_attr=True, seg=True)
    assert_batch_is_made_of_singles(brain, images)
    for image in images:
        graph = brain(image)
        check_graph(graph, brain.metadata)
        assert_acyclic(graph)
