"""Drawings of either polarity, on a ground of any level, become light ones on 0."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from grapheme_pyg import VisionBrain
from grapheme_pyg.vision.ground import relative_to_ground


def square(ground: int, ink: int, side: int = 12) -> Tensor:
    """A square of ink of 6×6 pixels in the middle of an image."""
    image = torch.full((1, 1, side, side), ground, dtype=torch.uint8)
    image[..., 3:9, 3:9] = ink
    return image


@pytest.mark.parametrize(("ground", "ink"), [(0, 255), (255, 0), (100, 140), (140, 100), (255, 230), (30, 46)])
def test_polarity_brightness_and_contrast_do_not_matter(ground: int, ink: int) -> None:
    assert torch.equal(relative_to_ground(square(ground, ink)), square(0, 255))


def test_less_contrast_than_a_drawing_has_is_not_made_one() -> None:
    # 8 of the least contrast, 16.
    assert torch.equal(relative_to_ground(square(100, 92)), square(0, 128))


@pytest.mark.parametrize("size", [(1, 1), (1, 7), (2, 2), (3, 3), (28, 28)])
@pytest.mark.parametrize("level", [0, 77, 255])
def test_constant_images_are_ground(size: tuple[int, int], level: int) -> None:
    assert not relative_to_ground(torch.full((2, 1, *size), level, dtype=torch.uint8)).any()


def test_a_speck_is_no_drawing_and_a_pair_of_them_is() -> None:
    image = square(0, 255)
    image[..., 1, 1] = 255
    image[..., 5, 5] = 0
    assert torch.equal(relative_to_ground(image), square(0, 255))
    # Each of these three has two others among its neighbours.
    image[..., 10, 9:11] = image[..., 9, 10] = 255
    assert relative_to_ground(image)[..., 10, 10] == 255


def test_grey_within_the_drawing_stays() -> None:
    image = square(200, 0)
    image[..., 5:7, 5:7] = 100
    # No neighbourhood is all of ink: in the darkest, one corner is grey, and the contrast (15 · 200 + 100) / 16.
    assert relative_to_ground(image)[0, 0, 5, 5] == round(100 * 255 / 193.75)


def test_noise_of_the_ground_goes() -> None:
    torch.manual_seed(0)
    image = square(0, 200, side=40).float() + 20
    noisy = (image + 10 * torch.randn(1, 1, 40, 40)).round().clamp(0, 255).to(torch.uint8)
    ground = relative_to_ground(noisy)[0, 0, 12:, 12:]
    assert float((ground > 0).float().mean()) < 0.05
    assert float(relative_to_ground(noisy)[0, 0, 4:8, 4:8].float().mean()) > 200


@given(st.integers(4, 9), st.integers(4, 9), st.integers(0, 2**32 - 1))
def test_inverted_and_batched_images_give_the_same(height: int, width: int, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    images = torch.randint(256, (5, 1, height, width), dtype=torch.uint8, generator=generator)
    relative = relative_to_ground(images)
    assert torch.equal(relative_to_ground(255 - images), relative)
    assert all(torch.equal(relative_to_ground(images[i : i + 1]), relative[i : i + 1]) for i in range(5))


@pytest.mark.parametrize("mode", ["grid", "blob", "superpixel", "hybrid"])
def test_graphs_of_inverted_images_are_the_same(mode: str) -> None:
    brain = VisionBrain(mode, seg=True)
    one, other = brain(square(0, 255, 16)[0]), brain(square(200, 120, 16)[0])
    assert all(torch.equal(one[field], other[field]) for field in one.keys())  # noqa: SIM118


def test_colour_is_another_matter() -> None:
    assert not VisionBrain(in_channels=3).relative
    with pytest.raises(ValueError, match="relative: expected False for images in colour, got True"):
        VisionBrain(in_channels=3, relative=True)
