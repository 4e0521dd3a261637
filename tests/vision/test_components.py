import numpy as np
import pytest

from grapheme_pyg.vision.components import find_components, stand_ins, touching, wholes

# A bright pixel in a grey bar, on black; and two bars that meet at a corner.
NESTED = np.array([[[0, 0, 0, 0, 0], [0, 100, 200, 100, 0], [0, 0, 0, 0, 0]]], np.uint8)
CORNER = np.array([[[9, 9, 0, 0], [0, 0, 9, 9]]], np.uint8)


def test_components_of_a_nested_blob():
    found = find_components(NESTED, (50, 150))
    # At 50 the border and the bar, at 150 everything but the pixel, and the pixel.
    assert found.area.tolist() == [12, 3, 14, 1]
    assert found.light.tolist() == [False, True, False, True]
    assert found.first.tolist() == [0, 6, 0, 7]
    assert found.threshold.tolist() == [0, 0, 1, 1]
    assert found.step.tolist() == [0, 1, 1, 0]
    assert found.larger.tolist() == [2, -1, -1, 1]
    assert found.labels[0].reshape(3, 5)[1].tolist() == [0, 1, 1, 1, 0]
    assert found.labels[1].reshape(3, 5)[1].tolist() == [2, 2, 3, 2, 2]
    assert touching(found, NESTED.shape).T.tolist() == [[1, 0], [3, 2]]


def test_pixels_that_meet_at_a_corner_are_one_component_of_either_polarity():
    found = find_components(CORNER, (4,))
    assert sorted(found.area.tolist()) == [4, 4]


def test_images_of_a_stack_do_not_touch():
    found = find_components(np.concatenate([CORNER, CORNER]), (4,))
    assert found.area.tolist() == [4, 4, 4, 4]
    assert found.first.tolist() == [0, 2, 8, 10]


def test_what_does_not_change_is_one_blob_whose_whole_lies_further_up():
    # From 40 to 120 the bar stays as it is; at 10 it is in a larger one.
    image = np.array([[[0, 20, 200, 200, 20, 0]]], np.uint8)
    found = find_components(image, (10, 40, 120))
    bars = [int(np.flatnonzero(found.light & (found.threshold == k))[0]) for k in range(3)]
    assert found.area[bars].tolist() == [4, 2, 2]
    stand_in = stand_ins(found, np.ones(found.area.size, bool))
    assert stand_in[bars].tolist() == [bars[0], bars[2], bars[2]]
    whole = wholes(found, stand_in)
    assert whole[bars].tolist() == [-1, bars[0], bars[0]]


def test_what_is_left_out_has_no_stand_in_and_is_passed_over():
    image = np.array([[[0, 20, 100, 200, 100, 20, 0]]], np.uint8)
    found = find_components(image, (10, 40, 120))
    bars = [int(np.flatnonzero(found.light & (found.threshold == k))[0]) for k in range(3)]
    kept = np.ones(found.area.size, bool)
    kept[bars[1]] = False
    stand_in = stand_ins(found, kept)
    assert stand_in[bars].tolist() == [bars[0], -1, bars[2]]
    assert wholes(found, stand_in)[bars[2]] == bars[0]


@pytest.mark.parametrize("seed", range(4))
def test_components_against_flooding(seed):
    rng = np.random.default_rng(seed)
    stack = rng.integers(0, 256, (3, 9, 7)).astype(np.uint8)
    thresholds = (60, 128, 200)
    found = find_components(stack, thresholds)
    for k, value in enumerate(thresholds):
        light = stack > value
        labels = found.labels[k].reshape(stack.shape)
        seen = np.zeros(stack.shape, bool)
        for start in np.ndindex(*stack.shape):
            if seen[start]:
                continue
            flooded, front = {start}, [start]
            while front:
                z, y, x = front.pop()
                for there in [(z, y + dy, x + dx) for dy in (-1, 0, 1) for dx in (-1, 0, 1)]:
                    inside = 0 <= there[1] < 9 and 0 <= there[2] < 7
                    if inside and there not in flooded and light[there] == light[start]:
                        flooded.add(there)
                        front.append(there)
            number = labels[start]
            assert {tuple(map(int, at)) for at in np.argwhere(labels == number)} == flooded
            assert found.area[number] == len(flooded)
            assert found.first[number] == np.ravel_multi_index(start, stack.shape)
            assert found.light[number] == light[start]
            following = k - 1 if light[start] else k + 1
            larger = found.labels[following].reshape(stack.shape)[start] if following in (0, 1, 2) else -1
            assert found.larger[number] == larger
            for at in flooded:
                seen[at] = True
    pairs = set()
    for labels in found.labels.reshape(3, *stack.shape):
        for a, b in ((labels[:, 1:], labels[:, :-1]), (labels[:, :, 1:], labels[:, :, :-1])):
            pairs |= {
                tuple(sorted(pair, key=lambda c: not found.light[c]))
                for pair in zip(a.flat, b.flat, strict=True)
                if pair[0] != pair[1]
            }
    assert {tuple(pair) for pair in touching(found, stack.shape).T} == pairs
