"""Images as cameras, scanners and pens spoil them."""

import pytest
import torch
from torch import Tensor

from grapheme_pyg.augmentation import RandomDegradation

NEVER = dict.fromkeys(("thin", "blur", "scratch", "hide", "ground", "noise", "specks"), 0.0)


def only(name: str, **amounts: float) -> RandomDegradation:
    """What happens to all images, and nothing else."""
    return RandomDegradation(share=1, **(NEVER | {name: 1.0} | amounts))


def spoilt(images: Tensor, degradation: RandomDegradation) -> Tensor:
    """One channel of them in colour, which are not taken relative to their ground."""
    colour = images[:, None].repeat(1, 3, 1, 1)
    return degradation(colour, degradation.draw(len(images), torch.Generator().manual_seed(0)))[:, 0]


@pytest.fixture
def images() -> Tensor:
    """Squares of ink of 10×10 pixels."""
    images = torch.zeros(200, 20, 20, dtype=torch.uint8)
    images[:, 5:15, 5:15] = 200
    return images


def test_an_image_depends_on_what_was_drawn_for_it_alone(images: Tensor) -> None:
    degradation = RandomDegradation()
    drawn = degradation.draw(200, torch.Generator().manual_seed(1))
    together, before = degradation(images, drawn), images.clone()
    alone = torch.cat([degradation(images[i : i + 1], drawn[i : i + 1]) for i in range(200)])
    assert torch.equal(together, alone)
    assert torch.equal(images, before)
    changed = (together != images).flatten(1).any(1).float().mean()
    assert 0.15 < changed < 0.35
    assert degradation(images[:3, None].expand(3, 3, 20, 20), drawn[:3]).shape == (3, 3, 20, 20)
    assert degradation(images[:0], drawn[:0]).shape == (0, 20, 20)


def test_ink_of_grey_images_may_be_dark(images: Tensor) -> None:
    degradation = RandomDegradation()
    drawn = degradation.draw(200, torch.Generator().manual_seed(1))
    light, dark = degradation(images, drawn), degradation(255 - images, drawn)
    same = (light == dark).flatten(1).all(1)
    assert torch.equal(same, drawn[:, 0] < degradation.share)
    # Those that stay as they are do.
    assert torch.equal(dark[~same], 255 - images[~same])


@pytest.mark.parametrize("share", [0.0, 1.0])
def test_nothing_happens(share: float, images: Tensor) -> None:
    probability = NEVER if share else {}
    assert torch.equal(spoilt(images, RandomDegradation(share=share, **probability)), images)


def test_strokes_get_thinner(images: Tensor) -> None:
    out = spoilt(images, only("thin"))
    assert torch.equal(out[:, 6:14, 6:14], images[:, 6:14, 6:14])
    edge = out[:, 5, 5:15].float()
    assert bool((edge == edge[:, :1]).all())
    assert edge.min() < 20
    assert edge.max() > 180


def test_blur_keeps_the_sum_away_from_the_border(images: Tensor) -> None:
    out = spoilt(images, only("blur", max_blur=1.5))
    torch.testing.assert_close(out.sum((1, 2)).float(), images.sum((1, 2)).float(), rtol=0.01, atol=0)
    assert bool((out[:, 4, 10] > out[:, 3, 10]).any())


def test_scratches_are_straight_and_take_ink_away(images: Tensor) -> None:
    out = spoilt(torch.full((100, 20, 20), 200, dtype=torch.uint8), only("scratch", max_scratch=0.1))
    assert int(out.min()) == 0
    # Three scratches, each at most 2 pixels wide and √2 · 20 long, with what they cover in part.
    assert bool(((out < 200).flatten(1).sum(1) <= 3 * 4 * 28.3).all())
    # What is left between a row's first and last scratched pixel is no more than three gaps.
    hit = (out < 200).int()
    starts = (hit.diff(dim=2) == 1).sum(2) + hit[:, :, 0]
    assert int(starts.max()) <= 3
    dark = torch.zeros(100, 20, 20, dtype=torch.uint8)
    assert torch.equal(spoilt(dark, only("scratch")), dark)


def test_two_kinds_happen_to_some_images() -> None:
    grey = torch.full((400, 8, 8), 128, dtype=torch.uint8)
    both = {"noise": 0.5, "specks": 0.5, "max_noise": 0.02, "max_specks": 0.4}
    for twice, expected in ((0.0, 0.0), (1.0, 0.5)):
        degradation = RandomDegradation(share=1, twice=twice, **(NEVER | both))
        out = spoilt(grey, degradation).flatten(1)
        specks = ((out == 0) | (out == 255)).any(1)
        noise = ((out != 128) & (out != 0) & (out != 255)).any(1)
        assert float((specks & noise).float().mean()) == pytest.approx(expected, abs=0.1)


def test_probabilities_are_at_most_one_together() -> None:
    with pytest.raises(ValueError, match=r"at most 1 together, got 1\.5"):
        RandomDegradation(**(NEVER | {"noise": 1.0, "thin": 0.5}))


def test_a_rectangle_is_hidden(images: Tensor) -> None:
    out = spoilt(images, only("hide"))
    hit = out != images
    assert bool((hit.flatten(1).sum(1) <= (0.3 * 20 + 1) ** 2).all())
    assert float((out[hit] == 0).float().mean()) > 0.3


def test_the_ground_changes_smoothly_and_ink_stays_above_it(images: Tensor) -> None:
    out = spoilt(images, only("ground")).int()
    steps = (out[:, 1:, :4] - out[:, :-1, :4]).abs()
    assert int(steps.max()) < 80
    assert int((out[:, :, :4] > 20).any(2).any(1).sum()) > 100
    assert bool((out[:, 5:15, 5:15].flatten(1).amin(1) >= 80).all())


def test_noise_has_the_deviation_that_was_drawn() -> None:
    grey = torch.full((300, 40, 40), 128, dtype=torch.uint8)
    degradation = only("noise", max_noise=0.1)
    found = spoilt(grey, degradation).float().flatten(1)
    assert float(found.std(dim=1).max()) == pytest.approx(25.5, rel=0.1)
    assert float(found.std(dim=1).mean()) == pytest.approx(12.75, rel=0.15)
    assert float(found.mean()) == pytest.approx(128, abs=1)


def test_specks_are_black_and_white(images: Tensor) -> None:
    out = spoilt(images, only("specks", max_specks=0.4))
    hit = out != images
    assert set(out[hit].unique().tolist()) == {0, 255}
    assert float(hit.float().mean()) == pytest.approx(0.5 * 0.4 * (0.25 * 1 + 0.75 * 0.5), rel=0.2)
