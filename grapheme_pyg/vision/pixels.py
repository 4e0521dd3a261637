"""Images of every accepted kind → uint8 tensors ``[C, H, W]``, checked once, here."""

import logging
import warnings
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from grapheme_pyg.errors import ImageError, ImageWarning
from grapheme_pyg.vision.pil_images import from_pil

log = logging.getLogger(__name__)

if TYPE_CHECKING:
    from PIL.Image import Image as PILImage

    Image: TypeAlias = Tensor | np.ndarray[Any, Any] | PILImage
    Images: TypeAlias = Tensor | np.ndarray[Any, Any] | Sequence[Image]

DTYPES = (torch.bool, torch.uint8, torch.float16, torch.bfloat16, torch.float32, torch.float64)
NUMPY_DTYPES = ("bool", "uint8", "float16", "float32", "float64")
# Images are told to be dark if their brightest pixel is below the first, of 255, and several of them, below the second.
DARKEST, DARKEST_OF_SEVERAL, SEVERAL = 32, 128, 10
# Of the graphs of a set, the share with a single node from which on something is wrong with the images.
NEARLY_ALL = 0.95
# Pixels that are looked at together: the graphs of so many take some 400 MB.
PIXELS_AT_ONCE = 2**20
# ITU-R 601 luma in 16-bit fixed point, the weights that Pillow's "L" mode uses.
LUMA = (19595, 38470, 7471)


def to_pixels(image: "Image", in_channels: int, *, name: str = "image", white: int | None = None) -> Tensor:
    """One image as integers.

    Args:
        image: A PIL image of any mode (see :func:`grapheme_pyg.vision.pil_images.from_pil`), a NumPy array ``[H, W]``
            or ``[H, W, C]``, or a tensor ``[H, W]`` or ``[C, H, W]``, with C = 1 or 3; uint8, float in [0, 1], or bool.
        in_channels: 1 (colour becomes ITU-R 601 luma) or 3 (grey is repeated).
        name: How errors call the image.
        white: Of PIL images of 16 bits, the level that is white; see :func:`grapheme_pyg.vision.pil_images.from_pil`.

    Returns:
        uint8 ``[in_channels, H, W]``; a float ``v`` becomes ``round(255 v)``, and True becomes 255.

    Raises:
        ImageError: The image is empty, of another shape or dtype, not finite or outside [0, 1]; or it is of a file
            that is broken or too large.
    """
    pixels = _quantize(_channels_first(image, name, batched=False, white=white), name, batched=False)
    return _to_channels(pixels, in_channels)


def to_pixel_batch(
    images: "Images", in_channels: int, *, count: int | None = None, first: int = 0, white: int | None = None
) -> list[Tensor]:
    """Many images as integers, stacked wherever neighbours in the list are of one size.

    Args:
        images: As :func:`check_many` accepts them.
        in_channels: 1 or 3.
        count: How many images there must be, if that is known.
        first: The position of the first image, for messages.
        white: As of :func:`to_pixels`.

    Returns:
        uint8 tensors ``[n_i, in_channels, H_i, W_i]`` whose images, in order, are the images given.

    Raises:
        ImageError: As :func:`to_pixels`; the message names the position of the image. Or as :func:`check_many`.
    """
    check_many(images, count=count)
    if isinstance(images, Tensor | np.ndarray) and not _holds_objects(images):
        pixels = _quantize(_channels_first(images, "images", batched=True), "images", batched=True, first=first)
        return [_to_channels(pixels, in_channels)]
    runs: list[list[Tensor]] = []
    for i, image in enumerate(images, first):
        pixels = to_pixels(image, in_channels, name=f"images[{i}]", white=white)
        if runs and runs[-1][0].shape == pixels.shape:
            runs[-1].append(pixels)
        else:
            runs.append([pixels])
    return [torch.stack(run) for run in runs]


def check_many(images: object, *, count: int | None = None) -> None:
    """Refuses what is not many images, or could as well be one.

    What has the shape ``[3, H, W]`` may be three grey images or one in colour, and what has the shape ``[N, H, 3]`` N
    narrow images or one in colour: only ``count`` tells them apart.

    Args:
        images: A tensor ``[N, H, W]`` or ``[N, C, H, W]``, an array ``[N, H, W]`` or ``[N, H, W, C]``, or a sequence of
            images as :func:`to_pixels` takes them, of any sizes.
        count: How many images there must be, if that is known.

    Raises:
        ImageError: They are not as above.
    """
    if not isinstance(images, Tensor | np.ndarray):
        # What has keys is a mapping, or a graph.
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
    # Channels may come first or last, whatever is usual; no image is as narrow as four pixels.
    may_be_one = len(shape) == 3 and (shape[0] == 3 or shape[2] <= 4 < shape[1])
    if may_be_one and (count != shape[0] or count == 1):
        raise ImageError(
            f"images: expected shape {shapes}, got {shape}, which may be one image of several channels or "
            f"{shape[0]} grey ones: give images[None] for one, {advice} for {shape[0]}"
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
    """Many images as integers, a few at a time: at most ``batch_size``, and 2²⁰ pixels unless one alone has more.

    Images of a sequence are asked for one by one, so that memory does not grow with their number.

    Args:
        images: As :func:`check_many` accepts them.
        in_channels: 1 or 3.
        batch_size: The largest number of images at a time.
        count: How many images there must be, if that is known.
        size: To how many pixels the longer side of each is brought; None leaves them as they are.
        white: As of :func:`to_pixels`.
        skip: Whether images that cannot be read are left out, with a warning in the log.
        some: The positions of the images to take; all if None.

    Yields:
        The positions of some images, ascending, and those images: uint8 ``[n, in_channels, H, W]``, or a list of
        ``[in_channels, H, W]``.

    Raises:
        ImageError: As :func:`to_pixel_batch`.
    """
    check_many(images, count=count)
    if isinstance(images, Tensor | np.ndarray) and not _holds_objects(images):
        (one,) = to_pixel_batch(images[:1], in_channels, count=1)
        # Before and after they are resized: both are held.
        largest = max(_area(one), _area(one if size is None else resized(one, size)))
        number = min(batch_size, max(1, PIXELS_AT_ONCE // largest))
        order = list(range(len(images)) if some is None else some)
        for start in range(0, len(order), number):
            chosen = order[start : start + number]
            part = images[start : start + number] if some is None else images[chosen]
            (pixels,) = to_pixel_batch(part, in_channels, count=len(part), first=start)
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
    """Whether an array is a sequence of images, such as a column of a table."""
    return isinstance(images, np.ndarray) and images.dtype == object


def warn_if_dark(runs: Sequence[Tensor]) -> None:
    """Warns of images whose levels do not go from 0 to 255; of images that are black there is nothing to say.

    Args:
        runs: uint8 ``[n_i, C, H_i, W_i]``.
    """
    brightest = max((int(run.max()) for run in runs if run.numel()), default=0)
    if 0 < brightest < (DARKEST if sum(map(len, runs)) < SEVERAL else DARKEST_OF_SEVERAL):
        warnings.warn(
            f"images: expected levels in 0…255, got none above {brightest}, which is far below white; "
            f"if {brightest} is white, make it images * {255 / brightest:.3g}",
            ImageWarning,
            stacklevel=3,
        )


def warn_if_blank(num_nodes: Tensor, *, stacklevel: int) -> None:
    """Warns of a set of images of which nearly all are blank, as their graphs tell.

    Args:
        num_nodes: ``[num_graphs]``, of the graph of each image.
        stacklevel: As of :func:`warnings.warn`, from the caller on.
    """
    blank = int((num_nodes == 1).sum())
    if blank and blank >= NEARLY_ALL * len(num_nodes):
        warnings.warn(
            f"images: expected contrast in them, got {blank} of {len(num_nodes)} whose graphs have a single node, "
            "which is what blank images have",
            ImageWarning,
            stacklevel=stacklevel + 1,
        )


def _channels_first(image: Any, name: str, *, batched: bool, white: int | None = None) -> Tensor:
    """``[..., H, W]`` → ``[..., C, H, W]``, with a leading dimension exactly if ``batched``."""
    channels_last = not isinstance(image, Tensor)
    if not isinstance(image, Tensor | np.ndarray):
        image = _from_pil(image, name, white)
    if isinstance(image, np.ndarray):
        if image.dtype not in NUMPY_DTYPES:
            raise ImageError(f"{name}: expected uint8, or float in [0, 1], got dtype {image.dtype}")
        # What Pillow hands over is read-only, which PyTorch has no tensors for.
        image = torch.from_numpy(np.require(image, requirements=["C", "W"]))
    if image.dtype not in DTYPES:
        raise ImageError(f"{name}: expected uint8, or float in [0, 1], got dtype {image.dtype}")
    if image.layout != torch.strided or image.is_nested or image.is_meta:
        kind = "nested" if image.is_nested else "meta" if image.is_meta else image.layout
        raise ImageError(f"{name}: expected a dense tensor with values, got one that is {kind}")
    grey_dim = 3 if batched else 2
    shapes = "[N, H, W] or [N, H, W, C]" if channels_last else "[N, H, W] or [N, C, H, W]"
    if not batched:
        shapes = shapes.replace("N, ", "")
    shape = tuple(image.shape)
    if image.dim() == grey_dim:
        image = image.unsqueeze(-3)
    elif image.dim() == grey_dim + 1:
        if channels_last:
            image = image.movedim(-1, -3)
    else:
        raise ImageError(f"{name}: expected shape {shapes}, got {shape}")
    if image.shape[-3] not in (1, 3):
        raise ImageError(f"{name}: expected 1 or 3 channels in a shape {shapes}, got {shape}")
    if image.shape[-1] == 0 or image.shape[-2] == 0:
        raise ImageError(f"{name}: expected at least one pixel, got shape {shape}")
    pixels: Tensor = image.detach().cpu()
    return pixels


def _from_pil(image: Any, name: str, white: int | None) -> "np.ndarray[Any, Any]":
    from PIL.Image import Image as PILImage

    if not isinstance(image, PILImage):
        expected = "a tensor, a NumPy array or a PIL image"
        raise ImageError(f"{name}: expected {expected}, got {type(image).__name__}")
    return from_pil(image, name, white=white)


def _quantize(image: Tensor, name: str, *, batched: bool, first: int = 0) -> Tensor:
    if image.dtype == torch.uint8:
        return image
    if image.dtype == torch.bool:
        return image.to(torch.uint8) * 255
    # One pass finds NaN and infinities too: neither compares as inside the range.
    inside = (image >= 0) & (image <= 1)
    if not bool(inside.all()):
        at = tuple((~inside).nonzero()[0].tolist())
        if batched:
            name = f"{name}[{first + at[0]}]"
        value = image[at].item()
        advice = "is it in 0…255? then divide by 255, or by whatever level is white"
        raise ImageError(f"{name}: expected float values in [0, 1], got {value}; {advice}")
    # In float64, so that every dtype rounds once, and a float16 value as the same float32 one.
    return (image.double() * 255).round().to(torch.uint8)


def _to_channels(pixels: Tensor, in_channels: int) -> Tensor:
    channels = pixels.shape[-3]
    if channels == in_channels:
        return pixels
    if channels == 1:
        return pixels.expand(*pixels.shape[:-3], in_channels, *pixels.shape[-2:])
    return to_grey(pixels).unsqueeze(-3)


def to_grey(pixels: Tensor) -> Tensor:
    """Luma of uint8 ``[..., C, H, W]`` with C = 1 or 3: uint8 ``[..., H, W]``."""
    if pixels.shape[-3] == 1:
        return pixels.squeeze(-3)
    weights = torch.tensor(LUMA, dtype=torch.int32, device=pixels.device).view(3, 1, 1)
    luma = (pixels.int() * weights).sum(dim=-3, dtype=torch.int32)
    return ((luma + 0x8000) >> 16).to(torch.uint8)


def resized(pixels: Tensor, side: int) -> Tensor:
    """Images brought to a number of pixels on their longer side, in proportion, by cubic interpolation.

    There is antialiasing when they shrink.

    Args:
        pixels: uint8 ``[B, C, H, W]``.
        side: Of the longer side, positive.
    """
    height, width = pixels.shape[-2:]
    longer = max(height, width)
    if longer == side:
        return pixels
    size = [max(1, round(length * side / longer)) for length in (height, width)]
    drawn = F.interpolate(pixels.float(), size, mode="bicubic", antialias=True, align_corners=False)
    return drawn.round_().clamp_(0, 255).to(torch.uint8)
