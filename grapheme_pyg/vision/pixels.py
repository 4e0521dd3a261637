"""Images of every accepted kind → uint8 tensors ``[C, H, W]``, checked once, here."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from grapheme_pyg.errors import ImageError
from grapheme_pyg.vision.pil_images import from_pil

if TYPE_CHECKING:
    from PIL.Image import Image as PILImage

    Image: TypeAlias = Tensor | np.ndarray[Any, Any] | PILImage
    Images: TypeAlias = Tensor | np.ndarray[Any, Any] | Sequence[Image]

DTYPES = (torch.bool, torch.uint8, torch.float16, torch.bfloat16, torch.float32, torch.float64)
NUMPY_DTYPES = ("bool", "uint8", "float16", "float32", "float64")
# Images are enlarged to at most so many pixels a side, or so many times: settings may come from a file, and a small
# image would become a huge one.
ALWAYS_ENLARGED, MOST_TIMES = 256, 8
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
    pixels = quantize(channels_first(image, name, batched=False, white=white), name, batched=False)
    return to_channels(pixels, in_channels)


def channels_first(image: Any, name: str, *, batched: bool, white: int | None = None) -> Tensor:
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


def quantize(image: Tensor, name: str, *, batched: bool, first: int = 0) -> Tensor:
    """uint8 of levels of any accepted dtype; ``first`` is the position of the first image of a batch, for messages."""
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


def to_channels(pixels: Tensor, in_channels: int) -> Tensor:
    """uint8 ``[..., C, H, W]`` with the number of channels that is asked for."""
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
