"""Connected components of images at several thresholds, and how they nest. Knows pixels and no graphs."""

from dataclasses import dataclass

import numpy as np

from grapheme_pyg.vision.arrays import Bools, Ints

# Eight neighbours in the image, none in the stack.
CONNECTED = np.zeros((3, 3, 3), dtype=bool)
CONNECTED[1] = True


@dataclass(frozen=True)
class Components:
    """All components of a stack of images: threshold by threshold, then image by image, then by their first pixel.

    At each threshold every pixel belongs to one component: of the light pixels, which exceed it, or of the dark ones.

    Shapes:
        - **labels**: ``[num_thresholds, num_images · H · W]``, the component of each pixel
        - **threshold**: ``[num_components]``, index into the thresholds
        - **step**: ``[num_components]``, the same counted from where the polarity's components are smallest
        - **light**: ``[num_components]`` bool
        - **first**: ``[num_components]``, position of the first pixel in the stack
        - **area**: ``[num_components]``, number of pixels
        - **larger**: ``[num_components]``, the component of the same polarity that it is a part of at the next
          threshold, −1 where there is none
    """

    labels: Ints
    threshold: Ints
    step: Ints
    light: Bools
    first: Ints
    area: Ints
    larger: Ints


def find_components(grey: Ints, thresholds: tuple[int, ...]) -> Components:
    """Labels a stack of images at every threshold at once.

    Args:
        grey: uint8 ``[num_images, H, W]``.
        thresholds: Ascending, in 0…254; a pixel is light if it exceeds the threshold.
    """
    from scipy import ndimage  # a tenth of a second, and a grid has no use for it

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
        # Of several assignments the last one stays: that of the first pixel.
        start[number[::-1]] = np.arange(num_pixels - 1, -1, -1)
        order = start.argsort()
        rank = np.empty_like(order)
        rank[order] = np.arange(count, count + total)
        labels[k] = rank[number]
        found.append((np.full(total, k), order < num_light, start[order]))
        count += total
    threshold, light, first = (np.concatenate(column) for column in zip(*found, strict=True))
    # What is light at a threshold is so at every lower one; what is dark, at every higher one.
    last = len(thresholds) - 1
    step = np.where(light, last - threshold, threshold)
    following = (threshold + np.where(light, -1, 1)).clip(0, last)
    larger = np.where(step < last, labels[following, first], -1)
    area = np.bincount(labels.ravel(), minlength=count)
    return Components(labels, threshold, step, light, first, area, larger)


def stand_ins(components: Components, kept: Bools) -> Ints:
    """Which component stands for each: itself, or the first of a run that did not change from step to step.

    Args:
        components: As found.
        kept: ``[num_components]``, which may stand for anything.

    Returns:
        ``[num_components]``, −1 for what nothing stands for.
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
    """For each component, what stands for the next larger one that is another, −1 where there is none."""
    numbers = np.arange(stand_in.size)
    whole = np.full(numbers.size, -1)
    for step in range(int(components.step.max()) - 1, -1, -1):
        part = numbers[components.step == step]
        larger = components.larger[part]
        same = (stand_in[larger] < 0) | (stand_in[larger] == stand_in[part])
        whole[part] = np.where(same, whole[larger], stand_in[larger])
    return whole


def touching(components: Components, shape: tuple[int, int, int]) -> Ints:
    """Pairs of components that touch at the same threshold, light first, ``[2, num_pairs]``, ascending.

    Args:
        components: As found.
        shape: Of the stack.
    """
    total = components.area.size
    keys = []
    for labels in components.labels:
        volume = labels.reshape(shape)
        for one, other in ((volume[:, 1:], volume[:, :-1]), (volume[:, :, 1:], volume[:, :, :-1])):
            differ = one != other
            a, b = one[differ], other[differ]
            is_light = components.light[a]
            keys.append(np.where(is_light, a, b) * total + np.where(is_light, b, a))
    pairs = np.unique(np.concatenate(keys))
    return np.stack(np.divmod(pairs, total))
