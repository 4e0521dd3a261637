"""Images of every accepted kind → uint8 tensors ``[C, H, W]``, checked once, here."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

if TYPE_CHECKING:
    from PIL.Image import Image as PILImage

    Image: TypeAlias = Tensor | np.ndarray[Any, Any] | PILImage
    Images: TypeAlias = Tensor | np.ndarray[Any, Any] | Sequence[Image]

NUMPY_DTYPES = ("uint8", "float16", "float32", "float64")
# ITU-R 601 luma in 16-bit fixed point, the weights that Pillow's "L" mode uses.
LUMA = (19595, 38470, 7471)


def to_pixels(image: "Image", in_channels: int) -> Tensor:
    """One image as integers.

    Args:
        image: A PIL image, a NumPy array ``[H, W]`` or ``[H, W, C]``, or a tensor ``[H, W]`` or
            ``[C, H, W]``, with C = 1 or 3; uint8, or float in [0, 1].
        in_channels: 1 (colour becomes ITU-R 601 luma) or 3 (grey is repeated).

    Returns:
        uint8 ``[in_channels, H, W]``; a float ``v`` becomes ``round(255 v)``.

    Raises:
        ValueError: The image is empty, of another shape or dtype, not finite or outside [0, 1].
    """
    return _to_channels(_quantize(_channels_first(image, batched=False)), in_channels)


def to_pixel_batch(images: "Images", in_channels: int) -> list[Tensor]:
    """Many images as integers, stacked wherever neighbours in the list are of one size.

    Args:
        images: A tensor ``[N, H, W]`` or ``[N, C, H, W]``, an array ``[N, H, W]`` or ``[N, H, W, C]``, or a
            sequence of images as :func:`to_pixels` takes them, of any sizes.
        in_channels: 1 or 3.

    Returns:
        uint8 tensors ``[n_i, in_channels, H_i, W_i]`` whose images, in order, are the images given.

    Raises:
        ValueError: As :func:`to_pixels`; the message names the position of the image in a sequence.
    """
    if isinstance(images, Tensor | np.ndarray):
        return [_to_channels(_quantize(_channels_first(images, batched=True)), in_channels)]
    if not hasattr(images, "__getitem__"):  # a single PIL image, a generator, None
        expected = "a tensor, a NumPy array or a sequence of images"
        raise ValueError(f"images: expected {expected}, got {type(images).__name__}")
    runs: list[list[Tensor]] = []
    for i, image in enumerate(images):
        try:
            pixels = to_pixels(image, in_channels)
        except ValueError as error:
            raise ValueError(f"images[{i}]: {error}") from error
        if runs and runs[-1][0].shape == pixels.shape:
            runs[-1].append(pixels)
        else:
            runs.append([pixels])
    return [torch.stack(run) for run in runs]


def _channels_first(image: Any, *, batched: bool) -> Tensor:
    """``[..., H, W]`` → ``[..., C, H, W]``, with a leading dimension exactly if ``batched``."""
    channels_last = not isinstance(image, Tensor)
    if not isinstance(image, Tensor | np.ndarray):
        image = _from_pil(image)
    if isinstance(image, np.ndarray):
        if image.dtype not in NUMPY_DTYPES:
            raise ValueError(f"image: expected uint8, or float in [0, 1], got dtype {image.dtype}")
        # What Pillow hands over is read-only, which PyTorch has no tensors for.
        image = torch.from_numpy(np.require(image, requirements=["C", "W"]))
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
        raise ValueError(f"image: expected shape {shapes}, got {shape}")
    if image.shape[-3] not in (1, 3):
        raise ValueError(f"image: expected 1 or 3 channels in a shape {shapes}, got {shape}")
    if image.shape[-1] == 0 or image.shape[-2] == 0:
        raise ValueError(f"image: expected at least one pixel, got shape {shape}")
    pixels: Tensor = image.detach().cpu()
    return pixels


def _from_pil(image: Any) -> "np.ndarray[Any, Any]":
    mode = getattr(image, "mode", None)
    if mode is None or not hasattr(image, "convert"):
        expected = "a tensor, a NumPy array or a PIL image"
        raise ValueError(f"image: expected {expected}, got {type(image).__name__}")
    if mode == "1":
        image = image.convert("L")
    elif mode not in ("L", "RGB"):
        raise ValueError(f"image: expected a PIL image of mode '1', 'L' or 'RGB', got mode {mode!r}; convert it first")
    return np.asarray(image)


def _quantize(image: Tensor) -> Tensor:
    if image.dtype == torch.uint8:
        return image
    if not image.is_floating_point():
        raise ValueError(f"image: expected uint8, or float in [0, 1], got dtype {image.dtype}")
    # One pass finds NaN and infinities too: neither compares as inside the range.
    inside = (image >= 0) & (image <= 1)
    if not bool(inside.all()):
        value = image[~inside][0].item()
        raise ValueError(f"image: expected float values in [0, 1], got {value}; is it in 0…255? then make it uint8")
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
