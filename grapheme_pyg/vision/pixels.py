"""Validation of images of all accepted types, and their conversion to uint8 tensors ``[C, H, W]``."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from grapheme_pyg.errors import ImageError
from grapheme_pyg.vision.arrays import Ints
from grapheme_pyg.vision.pil_images import from_pil

if TYPE_CHECKING:
    from PIL.Image import Image as PILImage

    Image: TypeAlias = Tensor | np.ndarray[Any, Any] | PILImage
    Images: TypeAlias = Tensor | np.ndarray[Any, Any] | Sequence[Image]

DTYPES = (torch.bool, torch.uint8, torch.float16, torch.bfloat16, torch.float32, torch.float64)
NUMPY_DTYPES = ("bool", "uint8", "float16", "float32", "float64")
# Images are enlarged at most to the first number of pixels a side, or that many times, because settings may come from a
# file and make a small image huge.
ALWAYS_ENLARGED, MOST_TIMES = 256, 8
# ITU-R 601 luma in 16-bit fixed point, with the weights of Pillow's mode "L".
LUMA = (19595, 38470, 7471)


def to_pixels(image: "Image", in_channels: int, *, name: str = "image", white: int | None = None) -> Tensor:
    """Converts an image to uint8.

    Args:
        image: A PIL image of any mode (see :func:`grapheme_pyg.vision.pil_images.from_pil`), a NumPy array ``[H, W]``
            or ``[H, W, C]``, or a tensor ``[H, W]`` or ``[C, H, W]``, with C = 1 or 3; uint8, float in [0, 1], or bool.
        in_channels: 1 (colour becomes ITU-R 601 luma) or 3 (grey is repeated).
        name: Name of the image, for errors.
        white: Level of white in 16-bit PIL images; see :func:`grapheme_pyg.vision.pil_images.from_pil`.

    Returns:
        uint8 ``[in_channels, H, W]``; a float ``v`` becomes ``round(255 v)``, and True becomes 255.

    Raises:
        ImageError: The image is empty, has another shape or dtype, is not finite or not in [0, 1]; or its file is
            broken or too large.
    """
    pixels = quantize(channels_first(image, name, batched=False, white=white), name, batched=False)
    return to_channels(pixels, in_channels)


def channels_first(image: Any, name: str, *, batched: bool, white: int | None = None) -> Tensor:
    """Converts an image, or a batch if ``batched``, to a tensor ``[C, H, W]`` or ``[N, C, H, W]`` on the CPU."""
    channels_last = not isinstance(image, Tensor)
    if not isinstance(image, Tensor | np.ndarray):
        image = _from_pil(image, name, white)
    if isinstance(image, np.ndarray):
        if image.dtype not in NUMPY_DTYPES:
            raise ImageError(f"{name}: expected uint8, or float in [0, 1], got dtype {image.dtype}")
        # Pillow's arrays are read-only, which tensors cannot be.
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
    if len(shape) > grey_dim:
        check_channels(name, shape, shapes, channels_last=channels_last)
    if image.shape[-1] == 0 or image.shape[-2] == 0:
        raise ImageError(f"{name}: expected at least one pixel, got shape {shape}")
    pixels: Tensor = image.detach().cpu()
    return pixels


def check_channels(name: str, shape: tuple[int, ...], shapes: str, *, channels_last: bool) -> None:
    """Refuses images in colour, ``[..., C, H, W]`` or ``[..., H, W, C]``, that do not have 1 or 3 channels.

    Raises:
        ImageError: With advice if channels are at the other end.
    """
    here, there = (shape[-1], shape[-3]) if channels_last else (shape[-3], shape[-1])
    if here in (1, 3):
        return
    hint = ""
    if there in (1, 3):
        as_meant = f"numpy.moveaxis({name}, -3, -1)" if channels_last else f"{name}.movedim(-1, -3)"
        hint = f"; channels are {'last in an array' if channels_last else 'first in a tensor'}, as in {as_meant}"
    raise ImageError(f"{name}: expected 1 or 3 channels in a shape {shapes}, got {shape}{hint}")


def _from_pil(image: Any, name: str, white: int | None) -> "np.ndarray[Any, Any]":
    from PIL.Image import Image as PILImage

    if not isinstance(image, PILImage):
        expected = "a tensor, a NumPy array or a PIL image"
        raise ImageError(f"{name}: expected {expected}, got {type(image).__name__}")
    return from_pil(image, name, white=white)


def quantize(image: Tensor, name: str, *, batched: bool, first: int = 0) -> Tensor:
    """Converts levels of any accepted dtype to uint8; ``first`` is the position of the first image, for errors."""
    if image.dtype == torch.uint8:
        return image
    if image.dtype == torch.bool:
        return image.to(torch.uint8) * 255
    # NaN and infinity do not compare as inside either.
    inside = (image >= 0) & (image <= 1)
    if not bool(inside.all()):
        at = tuple((~inside).nonzero()[0].tolist())
        if batched:
            name = f"{name}[{first + at[0]}]"
        value = image[at].item()
        advice = "is it in 0…255? then divide by 255, or by whatever level is white"
        raise ImageError(f"{name}: expected float values in [0, 1], got {value}; {advice}")
    # In float64, so that all dtypes are rounded only once and equally.
    return (image.double() * 255).round().to(torch.uint8)


def to_channels(pixels: Tensor, in_channels: int) -> Tensor:
    """Converts uint8 ``[..., C, H, W]`` to a number of channels, 1 or 3."""
    channels = pixels.shape[-3]
    if channels == in_channels:
        return pixels
    if channels == 1:
        return pixels.expand(*pixels.shape[:-3], in_channels, *pixels.shape[-2:])
    return to_grey(pixels).unsqueeze(-3)


def to_grey(pixels: Tensor) -> Tensor:
    """Returns the luma of uint8 ``[..., C, H, W]`` with C = 1 or 3 as uint8 ``[..., H, W]``."""
    if pixels.shape[-3] == 1:
        return pixels.squeeze(-3)
    weights = torch.tensor(LUMA, dtype=torch.int32, device=pixels.device).view(3, 1, 1)
    luma = (pixels.int() * weights).sum(dim=-3, dtype=torch.int32)
    return ((luma + 0x8000) >> 16).to(torch.uint8)


def gradients(grey: Ints) -> tuple[Ints, Ints]:
    """Returns central differences of ``[B, H, W]`` along x and y, with the border repeated."""
    padded = np.pad(grey, ((0, 0), (1, 1), (1, 1)), mode="edge")
    return padded[:, 1:-1, 2:] - padded[:, 1:-1, :-2], padded[:, 2:, 1:-1] - padded[:, :-2, 1:-1]


def resized(pixels: Tensor, side: int) -> Tensor:
    """Resizes images proportionally to a longer side by bicubic interpolation, antialiased when shrinking.

    Args:
        pixels: uint8 ``[B, C, H, W]``.
        side: New longer side in pixels, positive.

    Raises:
        ImageError: An image would be enlarged to more than 256 pixels and more than 8 times.
    """
    height, width = pixels.shape[-2:]
    longer = max(height, width)
    if longer == side:
        return pixels
    if side > max(ALWAYS_ENLARGED, MOST_TIMES * longer):
        expected = f"at least {-(-side // MOST_TIMES)} pixels on its longer side for resize={side}, which enlarges"
        raise ImageError(f"image: expected {expected} at most {MOST_TIMES} times, got {height} by {width}")
    size = [max(1, round(length * side / longer)) for length in (height, width)]
    drawn = F.interpolate(pixels.float(), size, mode="bicubic", antialias=True, align_corners=False)
    return drawn.round_().clamp_(0, 255).to(torch.uint8)
