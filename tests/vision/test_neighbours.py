import numpy as np
import pytest

from grapheme_pyg.vision.neighbours import SIDES, nearest, side, within_spacing

# Two groups: a row of three points, 1 and 3 apart, and a single point in the same place.
GROUP = np.array([0, 0, 0, 1])
POINT = np.array([[0.0, 0.0], [1.0, 0.0], [4.0, 0.0], [0.0, 0.0]])


def test_neighbours_are_of_the_same_group_by_distance():
    source, target, distance = nearest(GROUP, POINT)
    assert list(zip(source.tolist(), target.tolist(), distance.tolist(), strict=True)) == [
        (1, 0, 1.0),
        (2, 0, 4.0),
        (0, 1, 1.0),
        (2, 1, 3.0),
        (1, 2, 3.0),
        (0, 2, 4.0),
    ]


def test_of_equally_near_ones_the_first():
    cross = np.array([[0.0, 0.0], [0.0, 1.0], [1.0, 0.0], [-1.0, 0.0]])
    source, target, _ = nearest(np.zeros(4, np.int64), cross, number=2)
    assert source[target == 0].tolist() == [1, 2]


def test_within_twice_the_mean_distance_to_the_nearest():
    _, target, distance = nearest(GROUP, POINT)
    # The nearest others are 1, 1 and 3 away: the spacing is 5/3.
    assert distance[within_spacing(GROUP, target, distance)].tolist() == [1.0, 1.0, 3.0, 3.0]


def test_no_points_and_lonely_points():
    for count in (0, 1):
        source, target, distance = nearest(np.zeros(count, np.int64), np.zeros((count, 2)))
        assert source.size == target.size == distance.size == 0
        assert within_spacing(np.zeros(count, np.int64), target, distance).size == 0


@pytest.mark.parametrize("seed", range(3))
def test_neighbours_against_a_loop(seed):
    rng = np.random.default_rng(seed)
    group = np.sort(rng.integers(0, 5, 60))
    point = rng.integers(0, 6, (60, 2)).astype(float)
    expected = []
    for i in range(60):
        others = [j for j in range(60) if group[j] == group[i] and j != i]
        others.sort(key=lambda j: (np.hypot(*(point[j] - point[i])), j))
        expected += [(j, i) for j in others[:8]]
    source, target, _ = nearest(group, point)
    assert list(zip(source.tolist(), target.tolist(), strict=True)) == expected


def test_sides():
    offsets = [(0, -2, "above"), (1, -2, "above"), (0, 3, "below"), (-2, 1, "left_of"), (5, 4, "right_of")]
    for dx, dy, name in offsets:
        there, here = np.array([[7.0 + dx, 3.0 + dy]]), np.array([[7.0, 3.0]])
        assert SIDES[side(there, here)[0]] == name
