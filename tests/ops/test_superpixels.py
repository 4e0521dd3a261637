"""Superpixels: by hand, kernel against the plain implementation, what holds of all, and colours."""

import numpy as np
import pytest
import torch
from hypothesis import example, given
from hypothesis import strategies as st
from scipy import ndimage
from skimage.color import rgb2lab
from torch import Tensor

from grapheme_pyg import ops
from grapheme_pyg.testing import plain_operators
from grapheme_pyg.vision.superpixel import _lab


def cut(rows: list[str], number: int, compactness: float = 0.01) -> list[list[int]]:
    """Regions of an image drawn by digits, of 9; blanks are not active."""
    levels = torch.tensor([[float(pixel) / 9 if pixel != " " else 0.0 for pixel in row] for row in rows])
    active = torch.tensor([[pixel != " " for pixel in row] for row in rows])
    out: list[list[int]] = ops.superpixels(levels[None, None], active[None], torch.tensor([number]), compactness)[
        0
    ].tolist()
    return out


@pytest.mark.usefixtures("way")
def test_by_hand() -> None:
    # Two colours are two regions, wherever the centres start.
    assert cut(["0099", "0099"], 2) == [[0, 0, 1, 1]] * 2
    assert cut(["0009", "0009"], 2) == [[0, 0, 0, 1]] * 2
    # Place alone, where there is one colour.
    assert cut(["0000", "0000"], 2) == [[0, 0, 1, 1]] * 2
    # One of another colour is less than a quarter of a region's mean area, and joins what is around it.
    assert cut(["00000", "00900", "00000"], 1) == [[0] * 5] * 3
    # What is apart is apart; what is smaller than that and has nothing beside it is left out.
    assert cut(["000 000"], 1) == [[0, 0, 0, -1, 1, 1, 1]]
    assert cut(["0 00000000"], 1) == [[-1, -1, *[0] * 8]]
    assert cut(["   "], 1) == [[-1] * 3]


@st.composite
def images(draw: st.DrawFn) -> tuple[Tensor, Tensor, Tensor, float]:
    generator = torch.Generator().manual_seed(draw(st.integers(0, 2**31)))
    size = draw(st.tuples(st.integers(1, 20), st.integers(1, 20)))
    values = torch.rand(3, draw(st.sampled_from([1, 3])), *size, generator=generator)
    if draw(st.booleans()):  # few colours, and many equal distances
        values = values.mul(3).floor() / 2
    active = torch.rand(3, *size, generator=generator) < draw(st.sampled_from([0.2, 0.6, 1.1]))
    numbers = torch.randint(1, 40, (3,), generator=generator)
    return values, active, numbers, draw(st.sampled_from([0.05, 0.25, 2.0]))


def joined_in_two_rounds() -> tuple[Tensor, Tensor, Tensor, float]:
    """Of the first image 7 regions are asked for, 8 are apart, and one round of joining leaves 9."""
    generator = torch.Generator().manual_seed(202)
    values = torch.rand(3, 1, 19, 20, generator=generator)
    active = torch.rand(3, 19, 20, generator=generator) < 0.6
    return values, active, torch.randint(1, 40, (3,), generator=generator), 0.05


@given(images())
@example(joined_in_two_rounds())
def test_what_holds_of_all(made: tuple[Tensor, Tensor, Tensor, float]) -> None:
    values, active, numbers, compactness = made
    labels = ops.superpixels(values, active, numbers, compactness)
    with plain_operators():
        assert torch.equal(ops.superpixels(values, active, numbers, compactness), labels)
    for i, number in enumerate(numbers.tolist()):
        alone = ops.superpixels(values[i : i + 1], active[i : i + 1], numbers[i : i + 1], compactness)
        assert torch.equal(alone[0], labels[i])
        found = labels[i].numpy()
        assert (found[~active[i].numpy()] == -1).all()
        regions, first = np.unique(found[found >= 0], return_index=True)
        assert regions.tolist() == list(range(len(regions)))
        assert (np.diff(first) > 0).all()
        assert all(ndimage.label(found == region)[1] == 1 for region in regions)
        _, islands = ndimage.label(active[i].numpy())
        assert len(regions) <= max(number, islands)


def test_colours_are_those_of_scikit_image() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (2, 3, 9, 7))
    pixels[0, :, 0, 0], pixels[0, :, 0, 1] = 0, 255
    expected = rgb2lab(pixels.transpose(0, 2, 3, 1).astype(np.uint8)).transpose(0, 3, 1, 2)
    np.testing.assert_allclose(_lab(pixels).numpy(), expected, atol=0.02)
    np.testing.assert_allclose(_lab(pixels)[0, :, 0, :2].numpy(), [[0, 100], [0, 0], [0, 0]], atol=0.01)


@pytest.mark.skipif(not ops.compiled(), reason="PyTorch's own operators have errors of their own")
def test_wrong_arguments() -> None:
    with pytest.raises(RuntimeError, match=r"superpixels: num_regions: expected 1 to .*, got 0"):
        ops.superpixels(torch.rand(1, 1, 2, 2), torch.ones(1, 2, 2, dtype=torch.bool), torch.tensor([0]), 1.0)
    with pytest.raises(RuntimeError, match="superpixels: active: expected shape"):
        ops.superpixels(torch.rand(1, 1, 2, 2), torch.ones(1, 2, 3, dtype=torch.bool), torch.tensor([1]), 1.0)
