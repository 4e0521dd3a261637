"""Digits brought into MNIST's form: literal bars, real digits pasted elsewhere."""

import numpy as np
import pytest
import torch
from photographs import CHANGES, PAPERS, PLACES, blank_paper, on_paper
from PIL import Image

from grapheme_pyg.datasets import Split, mnist_style


def is_empty(picture: np.ndarray) -> bool:
    return not mnist_style(picture).any()


def page(height: int, width: int, *, paper: int = 255) -> np.ndarray:
    return np.full((height, width), paper, np.uint8)


def test_a_bar_fills_the_box_in_proportion() -> None:
    image = page(100, 80)
    image[10:50, 60:70] = 0  # 40 × 10, so 20 × 5 in the box
    expected = torch.zeros(28, 28, dtype=torch.uint8)
    # The middle column, 2 of 0…4, comes to 14; rows have their middle at 9.5, and 14 − 9.5 is rounded to 4.
    expected[4:24, 12:17] = 255
    assert torch.equal(mnist_style(image), expected)
    assert torch.equal(mnist_style(255 - image), expected)


def test_the_centre_of_mass_is_at_pixel_14() -> None:
    image = page(60, 60, paper=0)
    image[10:50, 10:20] = 255
    image[40:50, 10:50] = 255  # an L of 40 × 40: each pixel of the box is 2 × 2 of these
    digit = mnist_style(image)
    rows, columns = np.nonzero(digit.numpy())
    assert (rows.max() - rows.min() + 1, columns.max() - columns.min() + 1) == (20, 20)
    # In the box the L is 20 rows × 5 columns, and 5 rows × 15 columns more at the bottom: its centre of mass is at row
    # (100·9.5 + 75·17) / 175 = 12.71, so that it starts at 14 − 12.71 = 1.29,
    assert rows.min() == 1
    # and at column (100·2 + 75·12) / 175 = 6.29, so that it starts at 7.71, which leaves just enough for 20 columns.
    assert columns.min() == 8


def test_the_box_stays_in_the_picture() -> None:
    image = page(60, 60, paper=0)
    image[20:22, 10:50] = 255  # a long thin tail
    image[12:28, 10:16] = 255
    digit = mnist_style(image)
    columns = np.flatnonzero(digit.any(dim=0).numpy())
    # In the box: a line of 20 and 3 columns of 7 more, centre (20·9.5 + 21·1) / 41 = 5.1, so that it would start at 9
    # and end at 29.
    assert columns.max() == 27
    assert len(columns) == 20


def test_small_digits_are_enlarged() -> None:
    image = page(9, 9)
    image[2:7, 4] = 0  # 5 × 1, so 20 × 4
    rows, columns = np.nonzero(mnist_style(image).numpy() > 127)
    assert rows.max() - rows.min() + 1 == 20
    assert columns.max() - columns.min() + 1 == 4


def test_specks_are_dropped_and_strokes_kept() -> None:
    image = page(100, 100)
    image[20:60, 20:30] = 0
    image[20:60, 40:50] = 0  # as a digit of two strokes
    clean = mnist_style(image)
    image[90:92, 90:92] = 0
    assert torch.equal(mnist_style(image), clean)
    assert int((clean[14] > 0).sum()) == 10  # two strokes of 40 × 10, each 5 wide


def test_nothing_is_nothing() -> None:
    assert not mnist_style(page(40, 30)).any()
    assert not mnist_style(page(1, 1, paper=7)).any()
    slope = np.tile(np.linspace(0, 1, 50, dtype=np.float32), (40, 1))
    assert not mnist_style(slope).any()


@pytest.mark.parametrize("kind", PAPERS)
def test_blank_papers_are_empty(kind: str) -> None:
    found = [is_empty(blank_paper(kind, np.random.default_rng(seed))) for seed in range(20)]
    assert sum(found) >= 16


@pytest.mark.parametrize("place", PLACES)
def test_digits_are_not(place: str, digits: tuple[Split, Split]) -> None:
    images = digits[0].images[:20].numpy()
    assert not any(is_empty(PLACES[place](image, np.random.default_rng(i))) for i, image in enumerate(images))


def test_digits_on_noisy_and_grainy_paper_are_not(digits: tuple[Split, Split]) -> None:
    image = digits[0].images[0].numpy()
    for kind in ("noise", "grain"):
        assert not any(is_empty(on_paper(image, kind, np.random.default_rng(seed))) for seed in range(10))


def test_edges_and_parts_are_what_counts() -> None:
    # The same amount of darkness: as a disc with an edge, as one that fades from its middle, and as single pixels.
    y, x = np.mgrid[:50, :50] - 24.5
    radius = np.hypot(y, x)
    disc = np.where(radius < 10, 55, 255)
    fading = 255 - 200 * np.clip(1 - radius / 24, 0, 1)
    scattered = page(50, 50)
    scattered[2:48:3, 2:48:3] = 55
    assert [is_empty(picture.astype(np.uint8)) for picture in (disc, fading, scattered)] == [False, True, True]
    # Thin strokes have edges too.
    line = page(50, 50)
    line[10:40, 25] = 55
    assert not is_empty(line)


def test_kinds_of_images_agree() -> None:
    grey = np.random.default_rng(0).integers(0, 60, (50, 40), dtype=np.uint8)
    grey[10:30, 15:22] = 250
    expected = mnist_style(grey)
    assert expected.dtype == torch.uint8
    assert expected.shape == (28, 28)
    colour = np.repeat(grey[:, :, None], 3, axis=2)
    for image in (torch.from_numpy(grey), grey / 255.0, colour, Image.fromarray(grey), Image.fromarray(colour)):
        assert torch.equal(mnist_style(image), expected)


def test_bad_images() -> None:
    with pytest.raises(ValueError, match="image: expected shape"):
        mnist_style(np.zeros(28, np.uint8))
    with pytest.raises(ValueError, match="got str"):
        mnist_style("7.png")


@pytest.mark.parametrize("name", CHANGES)
def test_real_digits_come_back(name: str, digits: tuple[Split, Split]) -> None:
    images = digits[1].images[::200][:50]
    generator = np.random.default_rng(0)
    found = torch.stack([mnist_style(CHANGES[name](image, generator)) for image in images.numpy()])
    assert found.shape == images.shape

    def directions(pictures: torch.Tensor) -> torch.Tensor:
        return torch.nn.functional.normalize(pictures.flatten(1).float(), dim=1)

    cosines = directions(found) @ directions(images).t()
    assert cosines.diagonal().mean() > 0.88
    # Each is most like the digit that it was.
    assert (cosines.argmax(dim=1) == torch.arange(len(images))).float().mean() >= 0.96
