"""Connected components of images at several thresholds, and their nesting. Knows pixels and no graphs."""

from dataclasses import dataclass

import numpy as np

from grapheme_pyg.vision.arrays import Bools, Ints
from grapheme_pyg.vision.region_graph import beside

# Eight neighbours within an image, none in other images of the stack.
CONNECTED = np.zeros((3, 3, 3), dtype=bool)
CONNECTED[1] = True


@dataclass(frozen=True)
class Components:
    """All components of a stack of images, sorted by threshold, image and first pixel.

    At each threshold, every pixel belongs to a component of light pixels, which exceed the threshold, or of dark ones.

    Shapes:
        - **labels**: ``[num_thresholds, num_images · H · W]``, the component of each pixel
        - **threshold**: ``[num_components]``, index into the thresholds
        - **step**: ``[num_components]``, the same, counted from the threshold at which components of the polarity are
          smallest
        - **light**: ``[num_components]`` bool
        - **first**: ``[num_components]``, position of the first pixel in the stack
        - **area**: ``[num_components]``, number of pixels
        - **larger**: ``[num_components]``, the component of the same polarity that contains it at the next threshold,
          −1 for none
    """

    labels: Ints
    threshold: Ints
    step: Ints
    light: Bools
    first: Ints
    area: Ints
    larger: Ints


def find_components(grey: Ints, thresholds: tuple[int, ...]) -> Components:
    """Labels the components of a stack of images at all thresholds.

    Args:
        grey: uint8 ``[num_images, H, W]``.
        thresholds: Ascending, in 0…254; a pixel is light if it exceeds the threshold.
    """
    from scipy import ndimage  # importing takes a tenth of a second, and grids do not need it

    num_pixels = grey.size
    labels = np.empty((len(thresholds), num_pixels), dtype=np.int64)
    found: list[tuple[Ints, Bools, Ints]] = []
    count = 0
    for k, value in enumerate(thresholds):
        bright = grey > value
        number, num_light = ndimage.label(bright, CONNECTED)
        dark, num_dark = ndimage.label(~bright, CONNECTED)
        number = np.where(bright, number, dark + num_light).ravel() - 1
        total = num_light + num_dark
        start = np.empty(total, dtype=np.int64)
        # The last of several assignments wins: that of the first pixel.
        start[number[::-1]] = np.arange(num_pixels - 1, -1, -1)
        order = start.argsort()
        rank = np.empty_like(order)
        rank[order] = np.arange(count, count + total)
        labels[k] = rank[number]
        found.append((np.full(total, k), order < num_light, start[order]))
        count += total
    threshold, light, first = (np.concatenate(column) for column in zip(*found, strict=True))
    # Pixels that are light at one threshold are light at all lower ones; dark pixels at all higher ones.
    last = len(thresholds) - 1
    step = np.where(light, last - threshold, threshold)
    following = (threshold + np.where(light, -1, 1)).clip(0, last)
    larger = np.where(step < last, labels[following, first], -1)
    area = np.bincount(labels.ravel(), minlength=count)
    return Components(labels, threshold, step, light, first, area, larger)


def stand_ins(components: Components, kept: Bools) -> Ints:
    """Finds the representative of each component: the first of a run that does not change from step to step.

    Args:
        components: The components.
        kept: ``[num_components]`` bool, components that can be representatives.

    Returns:
        ``[num_components]``, −1 for none.
    """
    numbers = np.arange(kept.size)
    stand_in = np.where(kept, numbers, -1)
    for step in range(int(components.step.max())):
        part = numbers[(components.step == step) & (stand_in >= 0)]
        whole = components.larger[part]
        same = components.area[part] == components.area[whole]
        stand_in[whole[same]] = stand_in[part[same]]
    return stand_in


def wholes(components: Components, stand_in: Ints) -> Ints:
    """Finds, for each component, the representative of the next larger one that differs; −1 for none."""
    numbers = np.arange(stand_in.size)
    whole = np.full(numbers.size, -1)
    for step in range(int(components.step.max()) - 1, -1, -1):
        part = numbers[components.step == step]
        larger = components.larger[part]
        same = (stand_in[larger] < 0) | (stand_in[larger] == stand_in[part])
        whole[part] = np.where(same, whole[larger], stand_in[larger])
    return whole


def touching(components: Components, shape: tuple[int, int, int]) -> Ints:
    """Finds pairs of components that touch at the same threshold, light first, ``[2, num_pairs]``, ascending.

    Args:
        components: The components.
        shape: Shape of the stack.
    """
    total = components.area.size
    keys = []
    for labels in components.labels:
        for one, other in beside(labels.reshape(shape)):
            differ = one != other
            a, b = one[differ], other[differ]
            is_light = components.light[a]
            keys.append(np.where(is_light, a, b) * total + np.where(is_light, b, a))
    pairs = np.unique(np.concatenate(keys))
    return np.stack(np.divmod(pairs, total))
