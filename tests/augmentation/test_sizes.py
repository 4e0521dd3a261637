"""Images of several sizes are augmented together, each as if it were alone."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st

from grapheme_pyg.augmentation import RandomCutout, RandomDegradation, RandomWarp
from grapheme_pyg.datasets import ImageSequenceDataset
from grapheme_pyg.vision.canvas import on_canvas
from grapheme_pyg.vision.ground import relative_to_ground

KINDS = ("thin", "blur", "scratch", "hide", "ground", "noise", "specks")
NEVER = dict.fromkeys(KINDS, 0.0)
AUGMENTATIONS: dict[str, Callable[[], Any]] = {
    "warp": lambda: RandomWarp(wide=0.5, flip=0.5),
    "affine": lambda: RandomWarp(bend=0),
    "shift": lambda: RandomWarp(degrees=0, scale=0, shear=0, bend=0, shift=0.2),
    "cutout": RandomCutout,
    "all": lambda: RandomDegradation(share=0.8),
    **{kind: lambda kind=kind: RandomDegradation(share=1, **(NEVER | {kind: 1.0})) for kind in KINDS},
}
SIZES = st.lists(st.tuples(st.integers(1, 30), st.integers(1, 30)), min_size=1, max_size=5, unique=True)


@pytest.mark.parametrize("name", AUGMENTATIONS)
@settings(max_examples=10)
@given(SIZES, st.sampled_from([1, 3]), st.integers(0, 2**32 - 1))
@example([(28, 28), (20, 30), (1, 1)], 1, 0)
def test_canvases_change_nothing(name: str, sizes: list[tuple[int, int]], channels: int, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    images = [torch.randint(256, (1, channels, *size), dtype=torch.uint8, generator=generator) for size in sizes]
    augment = AUGMENTATIONS[name]()
    drawn = augment.draw(len(images), generator)
    canvas, own = on_canvas(images, (40, 33))
    for i, augmented in enumerate(augment(canvas, drawn, own)):
        alone = augment(images[i], drawn[i : i + 1])
        assert torch.equal(augmented[None, :, : sizes[i][0], : sizes[i][1]], alone)


@given(SIZES, st.integers(0, 2**32 - 1))
def test_grounds_are_those_of_each_image(sizes: list[tuple[int, int]], seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    images = [torch.randint(256, (1, 1, *size), dtype=torch.uint8, generator=generator) for size in sizes]
    canvas, own = on_canvas(images, (31, 30))
    expected, _ = on_canvas([relative_to_ground(image) for image in images], (31, 30))
    assert torch.equal(relative_to_ground(canvas, own), expected)


def test_data_sets_of_many_sizes() -> None:
    generator = torch.Generator().manual_seed(0)
    sizes = torch.randint(12, 60, (40, 2), generator=generator).tolist()
    images = [torch.randint(256, size, dtype=torch.uint8, generator=generator) for size in [*sizes, sizes[0], [300, 9]]]
    # With images in colour, and of shapes that do not share a canvas.
    images += [torch.randint(256, (3, 20, 24), dtype=torch.uint8, generator=generator), images[0].clone()]
    augment = (RandomWarp(), RandomDegradation(share=0.7))
    dataset = ImageSequenceDataset(images, range(len(images)), augment=augment, seed=4)
    order = torch.randperm(len(images), generator=generator)
    together, labels = dataset[order]
    assert labels.tolist() == order.tolist()
    changed = 0
    for i, image in zip(order.tolist(), together, strict=True):
        assert image.shape == images[i].shape
        assert torch.equal(image, dataset[i][0])
        changed += not torch.equal(image, images[i])
    assert changed > 40
