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

DTYPES = (torch.uint8, torch.float16, torch.bfloat16, torch.float32, torch.float64)
NUMPY_DTYPES = ("uint8", "float16", "float32", "float64")
# ITU-R 601 luma in 16-bit fixed point, the weights that Pillow's "L" mode uses.
LUMA = (19595, 38470, 7471)


def to_pixels(image: "Image", in_channels: int, *, name: str = "image") -> Tensor:
    """One image as integers.

    Args:
        image: A PIL image of any mode (see :func:`grapheme_pyg.vision.pil_images.from_pil`), a NumPy array ``[H, W]``
            or ``[H, W, C]``, or a tensor ``[H, W]`` or ``[C, H, W]``, with C = 1 or 3; uint8, or float in [0, 1].
        in_channels: 1 (colour becomes ITU-R 601 luma) or 3 (grey is repeated).
        name: How errors call the image.

    Returns:
        uint8 ``[in_channels, H, W]``; a float ``v`` becomes ``round(255 v)``.

    Raises:
        ImageError: The image is empty, of another shape or dtype, not finite or outside [0, 1]; or it is of a file
            that is broken or too large.
    """
    return _to_channels(_quantize(_channels_first(image, name, batched=False), name, batched=False), in_channels)


def to_pixel_batch(images: "Images", in_channels: int) -> list[Tensor]:
    """Many images as integers, stacked wherever neighbours in the list are of one size.

    Args:
        images: A tensor ``[N, H, W]`` or ``[N, C, H, W]``, an array ``[N, H, W]`` or ``[N, H, W, C]``, or a
            sequence of images as :func:`to_pixels` takes them, of any sizes.
        in_channels: 1 or 3.

    Returns:
        uint8 tensors ``[n_i, in_channels, H_i, W_i]`` whose images, in order, are the images given.

    Raises:
        ImageError: As :func:`to_pixels`; the message names the position of the image.
    """
    if isinstance(images, Tensor | np.ndarray):
        pixels = _quantize(_channels_first(images, "images", batched=True), "images", batched=True)
        return [_to_channels(pixels, in_channels)]
    if not hasattr(images, "__getitem__"):  # a single PIL image, a generator, None
        expected = "a tensor, a NumPy array or a sequence of images"
        raise ImageError(f"images: expected {expected}, got {type(images).__name__}")
    runs: list[list[Tensor]] = []
    for i, image in enumerate(images):
        pixels = to_pixels(image, in_channels, name=f"images[{i}]")
        if runs and runs[-1][0].shape == pixels.shape:
            runs[-1].append(pixels)
        else:
            runs.append([pixels])
    return [torch.stack(run) for run in runs]


def _channels_first(image: Any, name: str, *, batched: bool) -> Tensor:
    """``[..., H, W]`` → ``[..., C, H, W]``, with a leading dimension exactly if ``batched``."""
    channels_last = not isinstance(image, Tensor)
    if not isinstance(image, Tensor | np.ndarray):
        image = _from_pil(image, name)
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


def _from_pil(image: Any, name: str) -> "np.ndarray[Any, Any]":
    from PIL.Image import Image as PILImage

    if not isinstance(image, PILImage):
        expected = "a tensor, a NumPy array or a PIL image"
        raise ImageError(f"{name}: expected {expected}, got {type(image).__name__}")
    return from_pil(image, name)


def _quantize(image: Tensor, name: str, *, batched: bool) -> Tensor:
    if image.dtype == torch.uint8:
        return image
    # One pass finds NaN and infinities too: neither compares as inside the range.
    inside = (image >= 0) & (image <= 1)
    if not bool(inside.all()):
        at = tuple((~inside).nonzero()[0].tolist())
        if batched:
            name = f"{name}[{at[0]}]"
        value = image[at].item()
        raise ImageError(f"{name}: expected float values in [0, 1], got {value}; is it in 0…255? then make it uint8")
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
