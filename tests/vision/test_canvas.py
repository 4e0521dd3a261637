"""Images of several sizes on canvases of one size."""

import torch

from grapheme_pyg.ops.canvas import inside, repeat_border
from grapheme_pyg.vision.canvas import by_canvas, on_canvas, runs, sizes_of, stacked


def test_images_of_one_shape_are_stacked() -> None:
    stacks, positions = stacked([torch.zeros(1, 2, 3), torch.ones(1, 3, 2), torch.ones(1, 2, 3)])
    assert [stack.shape for stack in stacks] == [(2, 1, 2, 3), (1, 1, 3, 2)]
    assert stacks[0].amax((1, 2, 3)).tolist() == [0, 1]
    assert positions == [[0, 2], [1]]


def test_images_lie_in_the_upper_left_corners() -> None:
    tall, wide = torch.tensor([[[[1], [2]]], [[[3], [4]]]]), torch.tensor([[[[5, 6, 7]]]])
    canvas, sizes = on_canvas([tall, wide], (2, 3))
    assert canvas[:, 0].tolist() == [[[1, 0, 0], [2, 0, 0]], [[3, 0, 0], [4, 0, 0]], [[5, 6, 7], [0, 0, 0]]]
    assert sizes.tolist() == [[2, 1], [2, 1], [1, 3]]
    assert inside(sizes, 2, 3).int().tolist() == [
        [[1, 0, 0], [1, 0, 0]],
        [[1, 0, 0], [1, 0, 0]],
        [[1, 1, 1], [0, 0, 0]],
    ]
    assert [(rows.start, rows.stop, *size) for rows, *size in runs(sizes)] == [(0, 2, 2, 1), (2, 3, 1, 3)]
    assert sizes_of(canvas, None).tolist() == [[2, 3]] * 3


def test_borders_are_repeated() -> None:
    canvas, sizes = on_canvas([torch.tensor([[[[1, 2]]]]), torch.tensor([[[[3], [4]]]])], (2, 2))
    first, second = repeat_border(canvas, sizes, 1, right=1)[:, 0].tolist()
    assert first == [[1, 1, 2, 2, 2]] * 4
    assert second == [[3] * 5, [3] * 5, [4] * 5, [4] * 5]


def test_similar_sizes_share_a_canvas() -> None:
    def stacks(*sizes: tuple[int, int]) -> list[torch.Tensor]:
        return [torch.zeros(1, 1, *size) for size in sizes]

    # One of eight numbers between powers of two.
    assert by_canvas(stacks((20, 33), (25, 30))) == {(1, 26, 36): [0, 1]}
    assert by_canvas(stacks((28, 28))) == {(1, 28, 28): [0]}
    # A canvas for both would have ten times their pixels.
    assert by_canvas(stacks((3, 30), (30, 3), (4, 20))) == {(1, 4, 32): [0, 2], (1, 32, 4): [1]}
    assert by_canvas(stacks((3, 4), (300, 300))) == {(1, 4, 4): [0], (1, 300, 300): [1]}
