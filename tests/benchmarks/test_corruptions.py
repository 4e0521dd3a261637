"""Corruptions of the robustness benchmark: what they do to images made by hand."""

import pytest
import torch
from corruptions import CORRUPTIONS, PROBABILITIES, Corruption
from torch import Tensor

BY_NAME = {corruption.name: corruption for corruption in CORRUPTIONS}
every = pytest.mark.parametrize("corruption", CORRUPTIONS, ids=lambda corruption: corruption.name)


def one_pixel(size: int, y: int, x: int) -> Tensor:
    image = torch.zeros(1, size, size, dtype=torch.uint8)
    image[0, y, x] = 255
    return image


@every
def test_keeps_dtype_shape_and_input(corruption: Corruption, images: Tensor) -> None:
    before = images.clone()
    assert len(corruption.severities) == 5
    for severity in corruption.severities:
        out = corruption(images, severity)
        assert out.dtype == torch.uint8
        assert out.shape == images.shape
        assert not torch.equal(out, images)
    assert torch.equal(images, before)


@pytest.mark.parametrize("corruption", [c for c in CORRUPTIONS if c.neutral is not None], ids=lambda c: c.name)
def test_neutral_severity_changes_nothing(corruption: Corruption, images: Tensor) -> None:
    assert corruption.neutral is not None
    assert torch.equal(corruption(images, corruption.neutral), images)


@every
def test_is_a_function_of_image_severity_and_seed(corruption: Corruption, images: Tensor) -> None:
    severity = corruption.severities[2]
    several = images.repeat(6, 1, 1)  # else all might be shifted or turned to the same side by two seeds
    out = corruption(several, severity, seed=1)
    assert torch.equal(corruption(several, severity, seed=1), out)
    # Images that come after do not matter: the first 1,000 of 2,000 are corrupted as they are alone.
    assert torch.equal(corruption(several[:4], severity, seed=1), out[:4])
    drawn = {"Gaussian noise", "shot noise", "impulse noise", "patches dropped", "shift", "rotation", "motion blur"}
    assert torch.equal(corruption(several, severity, seed=2), out) == (corruption.name not in drawn)


def test_inversion_and_contrast_are_exact() -> None:
    ramp = torch.arange(256, dtype=torch.uint8).view(1, 16, 16)
    assert torch.equal(BY_NAME["inversion"](ramp, 1), 255 - ramp)
    assert torch.equal(BY_NAME["inversion"](ramp, 0), torch.full_like(ramp, 255))
    assert torch.equal(BY_NAME["low contrast"](2 * (ramp // 2), 0.5), ramp // 2)


def test_shift_by_whole_pixels_is_exact() -> None:
    centre = torch.tensor([6, 6])
    images = one_pixel(13, 6, 6).repeat(40, 1, 1)
    images[:, 0, 12] = 7  # goes off the border or stays in, and never comes back at the other side
    shift = BY_NAME["shift"]
    steps = []
    for pixels in (1, 2, 5):
        out = shift(images, pixels)
        graph, *place = (out == 255).nonzero(as_tuple=True)
        assert graph.tolist() == list(range(40))
        steps.append((torch.stack(place, dim=1) - centre) / pixels)
        assert bool(((out == 7).sum((1, 2)) <= 1).all())
        assert bool(((out != 0).sum((1, 2)) <= 2).all())
    # The eight directions, the same ones at every severity.
    assert steps[0].unique(dim=0).tolist() == [[y, x] for y in (-1, 0, 1) for x in (-1, 0, 1) if (y, x) != (0, 0)]
    assert torch.equal(steps[0], steps[1])
    assert torch.equal(steps[0], steps[2])


def test_strokes_move_their_edges_by_the_radius() -> None:
    dot = one_pixel(5, 2, 2)
    # A quarter of a pixel on each of the four sides: a quarter of each neighbour; of the pixel itself, a quarter stays.
    cross = torch.zeros(5, 5, dtype=torch.uint8)
    cross[2, 1:4] = cross[1:4, 2] = 64
    cross[2, 2] = 255
    assert torch.equal(BY_NAME["thicker strokes"](dot, 0.25)[0], cross)
    assert torch.equal(BY_NAME["thinner strokes"](dot, 0.25), dot // 255 * 64)
    assert not BY_NAME["thinner strokes"](dot, 0.5).any()


def test_patches_are_cells_and_severities_nested() -> None:
    images = torch.full((20, 28, 28), 255, dtype=torch.uint8)
    patches = BY_NAME["patches dropped"]
    before = torch.zeros_like(images, dtype=torch.bool)
    for p in (0, *PROBABILITIES, 1):
        dropped = patches(images, p) == 0
        cells = dropped.view(20, 14, 2, 14, 2)
        assert torch.equal(cells, cells[:, :, :1, :, :1].expand_as(cells))
        assert dropped.float().mean().item() == pytest.approx(p, abs=0.03)
        assert bool((before <= dropped).all())
        before = dropped
    assert bool(before.all())
    assert patches(images[:, :5, :7], 0.5).shape == (20, 5, 7)


def test_motion_blur_spreads_a_pixel_along_a_line() -> None:
    out = BY_NAME["motion blur"](one_pixel(21, 10, 10), 8)[0].float()
    ys, xs = out.nonzero().t()
    assert float(out.sum()) == pytest.approx(255, rel=0.1)
    assert 6 <= max(int(ys.max() - ys.min()), int(xs.max() - xs.min())) <= 11
    assert int((out > 0).sum()) < 45
