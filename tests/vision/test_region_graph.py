import numpy as np
import pytest

from grapheme_pyg.vision.region_graph import OCTANTS, adjacent, merge, octant

# Regions 0 to 3; 0 and 3 meet at a corner only. The second image has one region.
LABELS = np.array([[[0, 0, 1], [0, 0, 1], [2, 2, 3]], [[4, 4, 4]] * 3])


def test_who_touches_whom():
    source, target = adjacent(LABELS)
    pairs = list(zip(source.tolist(), target.tolist(), strict=True))
    assert pairs == [(1, 0), (2, 0), (0, 1), (3, 1), (0, 2), (3, 2), (1, 3), (2, 3)]


@pytest.mark.parametrize("seed", range(3))
def test_who_touches_whom_against_a_loop(seed):
    labels = np.random.default_rng(seed).integers(0, 5, (2, 6, 7))
    labels[1] += 5
    pairs = set()
    for z, y, x in np.ndindex(*labels.shape):
        for dy, dx in ((0, 1), (1, 0)):
            if y + dy < 6 and x + dx < 7 and labels[z, y, x] != labels[z, y + dy, x + dx]:
                one, other = int(labels[z, y, x]), int(labels[z, y + dy, x + dx])
                pairs |= {(one, other), (other, one)}
    source, target = adjacent(labels)
    assert set(zip(source.tolist(), target.tolist(), strict=True)) == pairs
    assert len(pairs) == source.size


def test_octants_are_by_angle():
    angles = np.linspace(-np.pi, np.pi, 400)
    offsets = np.stack([np.cos(angles), np.sin(angles)], axis=1)
    expected = np.round(angles / (np.pi / 4)).astype(int) % 8
    assert octant(offsets).tolist() == expected.tolist()
    assert [OCTANTS[octant(np.array([offset]))[0]] for offset in ((1.0, 0.0), (0.0, 1.0), (-1.0, -1.0))] == [
        "east",
        "south",
        "north_west",
    ]


def test_regions_merge_with_the_neighbour_that_is_most_like_them():
    # A row of five: dark, dark, bright, bright, bright; the distances are equal.
    source = np.array([1, 0, 2, 1, 3, 2, 4, 3])
    target = np.array([0, 1, 1, 2, 2, 3, 3, 4])
    colour = np.array([0.0, 0.1, 0.9, 1.0, 1.0])[:, None]
    centre = np.stack([np.arange(5.0), np.zeros(5)], axis=1)
    union = merge(source, target, np.full(5, 10.0), colour, centre, np.ones(8))
    assert union.tolist() == [0, 0, 1, 1, 1]


def test_where_colours_agree_the_nearest_merge():
    source, target = np.array([1, 0, 2, 1, 3, 2]), np.array([0, 1, 1, 2, 2, 3])
    centre = np.array([[0.0, 0.0], [1.0, 0.0], [3.0, 0.0], [4.0, 0.0]])
    union = merge(source, target, np.ones(4), np.zeros((4, 1)), centre, np.ones(6))
    assert union.tolist() == [0, 0, 1, 1]


def test_a_region_without_neighbours_stays():
    nothing = np.empty(0, np.int64)
    assert merge(nothing, nothing, np.ones(2), np.zeros((2, 1)), np.zeros((2, 2)), np.empty(0)).tolist() == [0, 1]
