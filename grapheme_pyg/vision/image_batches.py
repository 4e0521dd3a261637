"""Collections of images: validation, iteration in batches, and warnings."""

import logging
import warnings
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from torch import Tensor

from grapheme_pyg.errors import ImageError, ImageWarning
from grapheme_pyg.vision.canvas import stacked
from grapheme_pyg.vision.ground import LEAST_CONTRAST
from grapheme_pyg.vision.pixels import channels_first, check_channels, quantize, resized, to_channels, to_pixels

if TYPE_CHECKING:
    from grapheme_pyg.vision.pixels import Images

log = logging.getLogger(__name__)

# Images are dark if their brightest pixel is below the first level, or below the second in a set of several images.
DARKEST, DARKEST_OF_SEVERAL, SEVERAL = 32, 128, 10
# Share of blank images in a set that causes a warning.
NEARLY_ALL = 0.95
# Largest number of pixels in a batch, whose graphs take some 400 MB.
PIXELS_AT_ONCE = 2**20


def to_pixel_batch(
    images: "Images", in_channels: int, *, count: int | None = None, first: int = 0, white: int | None = None
) -> tuple[list[Tensor], list[int]]:
    """Converts many images to uint8 and stacks those of one size.

    Args:
        images: As in :func:`check_many`.
        in_channels: 1 or 3.
        count: Expected number of images, if known.
        first: Position of the first image, for messages.
        white: As in :func:`to_pixels`.

    Returns:
        uint8 tensors ``[n_i, in_channels, H_i, W_i]``, and the positions of their images.

    Raises:
        ImageError: As :func:`check_many`; or as :func:`to_pixels`, with the position of the image.
    """
    check_many(images, count=count)
    if isinstance(images, Tensor | np.ndarray) and not _holds_objects(images):
        pixels = quantize(channels_first(images, "images", batched=True), "images", batched=True, first=first)
        return [to_channels(pixels, in_channels)], list(range(len(pixels)))
    stacks, positions = stacked(
        [to_pixels(image, in_channels, name=f"images[{first + i}]", white=white) for i, image in enumerate(images)]
    )
    return stacks, [i for some in positions for i in some]


def check_many(images: object, *, count: int | None = None) -> None:
    """Refuses anything that is not many images, or could also be a single one.

    The shape ``[3, H, W]`` can mean three grey images or one in colour, and ``[N, H, 3]`` can mean N narrow images or
    one in colour; only ``count`` tells them apart.

    Args:
        images: A tensor ``[N, H, W]`` or ``[N, C, H, W]``, an array ``[N, H, W]`` or ``[N, H, W, C]``, or a sequence of
            images of any sizes, as in :func:`to_pixels`.
        count: Expected number of images, if known.

    Raises:
        ImageError: They are invalid or ambiguous.
    """
    if not isinstance(images, Tensor | np.ndarray):
        # Objects with keys are mappings or graphs.
        several = hasattr(images, "__getitem__") and hasattr(images, "__len__") and not hasattr(images, "keys")
        if not several or isinstance(images, str | bytes):
            expected = "a tensor, a NumPy array or a sequence of images"
            raise ImageError(f"images: expected {expected}, got {type(images).__name__}; for one image, [image]")
        return
    if _holds_objects(images):
        return
    shape = tuple(images.shape)
    if isinstance(images, Tensor):
        shapes, advice = "[N, H, W] or [N, C, H, W]", "images[:, None]"
    else:
        shapes, advice = "[N, H, W] or [N, H, W, C]", "images[..., None]"
    if len(shape) not in (3, 4):
        hint = "; for one image, [image]" if len(shape) == 2 else ""
        raise ImageError(f"images: expected shape {shapes}, got {shape}{hint}")
    # Channels may be first or last; no image is only four pixels wide.
    may_be_one = len(shape) == 3 and (shape[0] == 3 or shape[2] <= 4 < shape[1])
    if len(shape) == 4:
        check_channels("images", shape, shapes, channels_last=not isinstance(images, Tensor))
    if may_be_one and (count != shape[0] or count == 1):
        one = "images"
        if isinstance(images, Tensor) and shape[0] != 3:
            one = "images.movedim(-1, 0)"
        elif not isinstance(images, Tensor) and shape[2] > 4:
            one = "numpy.moveaxis(images, 0, -1)"
        raise ImageError(
            f"images: expected shape {shapes}, got {shape}, which may be one image of several channels or "
            f"{shape[0]} grey ones: give {one}[None] for one, {advice} for {shape[0]}"
        )


def in_batches(
    images: "Images",
    in_channels: int,
    batch_size: int,
    *,
    count: int | None = None,
    size: int | None = None,
    white: int | None = None,
    skip: bool = False,
    some: Sequence[int] | None = None,
) -> Iterator[tuple[list[int], Tensor | list[Tensor]]]:
    """Converts many images to uint8 in batches of at most ``batch_size`` images, and 2²⁰ pixels if it is several.

    Images of a sequence are read one by one, so that memory does not grow with their number.

    Args:
        images: As in :func:`check_many`.
        in_channels: 1 or 3.
        batch_size: Largest number of images in a batch.
        count: Expected number of images, if known.
        size: Longer side in pixels to which images are resized; None leaves them unchanged.
        white: As in :func:`to_pixels`.
        skip: Whether to leave out images that cannot be read, with a warning in the log.
        some: Positions of the images to convert; all if None.

    Yields:
        Positions of images, ascending, and these images: uint8 ``[n, in_channels, H, W]``, or a list of
        ``[in_channels, H, W]``.

    Raises:
        ImageError: As :func:`to_pixel_batch`.
    """
    check_many(images, count=count)
    if isinstance(images, Tensor | np.ndarray) and not _holds_objects(images):
        (one,), _ = to_pixel_batch(images[:1], in_channels, count=1)
        # The larger of both, because images before and after resizing are in memory together.
        largest = max(_area(one), _area(one if size is None else resized(one, size)))
        number = min(batch_size, max(1, PIXELS_AT_ONCE // largest))
        order = list(range(len(images)) if some is None else some)
        for start in range(0, len(order), number):
            chosen = order[start : start + number]
            part = images[start : start + number] if some is None else images[chosen]
            (pixels,), _ = to_pixel_batch(part, in_channels, count=len(part), first=start)
            yield chosen, pixels if size is None else resized(pixels, size)
        return
    positions: list[int] = []
    batch: list[Tensor] = []
    area = 0
    for i in range(len(images)) if some is None else some:
        try:
            pixels = to_pixels(images[i], in_channels, name=f"images[{i}]", white=white)
        except (OSError, ImageError) as error:
            if not skip:
                raise
            log.warning("left out: %s", error)
            continue
        if size is not None:
            pixels = resized(pixels[None], size)[0]
        area += _area(pixels)
        if batch and (len(batch) == batch_size or area > PIXELS_AT_ONCE):
            yield positions, batch
            positions, batch, area = [], [], _area(pixels)
        positions.append(i)
        batch.append(pixels)
    if batch:
        yield positions, batch


def _area(pixels: Tensor) -> int:
    return pixels.shape[-2] * pixels.shape[-1]


def _holds_objects(images: Any) -> bool:
    """Returns whether an array is a sequence of images, such as a column of a table."""
    return isinstance(images, np.ndarray) and images.dtype == object


def warn_if_dark(stacks: Sequence[Tensor], *, relative: bool) -> None:
    """Warns of images whose levels are far below 255, except black ones.

    Args:
        stacks: uint8 ``[n_i, C, H_i, W_i]``.
        relative: Whether images are normalised relative to their ground; then only the darkest matter.
    """
    brightest = max((int(stack.max()) for stack in stacks if stack.numel()), default=0)
    darkest = DARKEST if sum(map(len, stacks)) < SEVERAL else DARKEST_OF_SEVERAL
    if 0 < brightest < (LEAST_CONTRAST if relative else darkest):
        warnings.warn(
            f"images: expected levels in 0…255, got none above {brightest}, which is far below white; "
            f"if {brightest} is white, make it images * {255 / brightest:.3g}",
            ImageWarning,
            stacklevel=3,
        )


def warn_if_blank(blank: Tensor, *, stacklevel: int) -> None:
    """Warns if nearly all images of a set are blank.

    Args:
        blank: ``[N]``, 1 for each image whose graph has a single node or that has only one level, else 0.
        stacklevel: As for :func:`warnings.warn`, counted from the caller.
    """
    number = int(blank.sum())
    if number and number >= NEARLY_ALL * len(blank):
        warnings.warn(
            f"images: expected contrast, got {number} of {len(blank)} images whose graphs have a single node, "
            "as blank images have",
            ImageWarning,
            stacklevel=stacklevel + 1,
        )
