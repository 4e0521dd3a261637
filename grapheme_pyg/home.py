"""Home: statistics of the training images, from which a model recognises very different ones."""

import warnings
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any, Self

import torch
from torch import Tensor
from torch_geometric.data import Batch

from grapheme_pyg.errors import ImageWarning
from grapheme_pyg.vision import VisionBrain

# Values beyond the training range by this factor are far.
FAR = 2.0
# Share of far images that causes a warning.
MANY = 0.1
# Boolean attributes; the others are ranges.
SWITCHES = ("blank", "mirrored")


def measure(pixels: Tensor | Sequence[Tensor], graphs: Batch, vision: VisionBrain) -> Tensor:
    """Measures the four properties in :class:`Home` that have ranges, and whether images are blank.

    Args:
        pixels: uint8 ``[N, C, H, W]``, or N images ``[C, H, W]``.
        graphs: Graphs of the images.
        vision: Brain that made the graphs.

    Returns:
        ``[N, 5]`` float32; the last column is 1 for blank images, else 0.
    """
    nodes = graphs.ptr.diff()
    sides = graphs.image_size.amax(dim=1).float()
    density = nodes / graphs.image_size.prod(dim=1)
    if isinstance(pixels, Tensor):
        level, contrast, least, greatest = _levels(pixels.flatten(1))
    else:
        level, contrast, least, greatest = torch.cat([_levels(image.flatten()[None]) for image in pixels], dim=1)
    blank = ((nodes == 1) | (least == greatest)).float()
    if vision.relative:  # levels and contrast are normalised
        level = contrast = torch.zeros_like(level)
    return torch.stack([sides, level, contrast, density, blank], dim=1)


def _levels(pixels: Tensor) -> Tensor:
    """Returns mean, standard deviation, minimum and maximum of each row."""
    deviation, mean = torch.std_mean(pixels.float(), dim=1, correction=0)
    least, greatest = pixels.aminmax(dim=1)
    return torch.stack([mean, deviation, least.float(), greatest.float()])


@dataclass(frozen=True)
class Home:
    """Statistics of the training images: the minimum and maximum of each property over some of them.

    Attributes:
        blank: Whether there were blank images.
        longer_side: Longer side in pixels, as the finder sees it.
        mean_level: Mean level in 0…255; 0 if images are taken relative to their ground.
        contrast: Standard deviation of the levels; 0 if images are taken relative to their ground.
        nodes_per_pixel: Number of nodes for each pixel, which grows with the ink and the noise.
        mirrored: Whether training used mirror images, so that an image and its mirror image have the same class.
    """

    blank: bool
    longer_side: tuple[float, float]
    mean_level: tuple[float, float]
    contrast: tuple[float, float]
    nodes_per_pixel: tuple[float, float]
    mirrored: bool = False

    @classmethod
    def of(cls, measured: Tensor) -> Self:
        """Makes the home of images from the result of :func:`measure`, ``[N, 5]``."""
        ranges = torch.stack([measured[:, :-1].amin(dim=0), measured[:, :-1].amax(dim=0)], dim=1)
        pairs: list[Any] = [tuple(pair) for pair in ranges.tolist()]
        return cls(bool(measured[:, -1].any()), *pairs)

    @classmethod
    def from_config(cls, config: object) -> Self:
        """Makes a home from its :attr:`config`.

        Raises:
            ValueError: ``config`` is invalid.
        """
        names = [field.name for field in fields(cls)]
        # Older models were saved without this switch.
        config = {"mirrored": False} | config if isinstance(config, dict) else config
        if not isinstance(config, dict) or set(config) != set(names):
            raise ValueError(f"home: expected an object of {names}, got {config!r:.200}")
        for name, value in config.items():
            if name in SWITCHES:
                if type(value) is not bool:
                    raise ValueError(f"home.{name}: expected true or false, got {value!r:.200}")
                continue
            is_pair = isinstance(value, list) and len(value) == 2 and all(type(end) in (int, float) for end in value)
            if not is_pair or not 0 <= value[0] <= value[1] < 2**31:
                raise ValueError(f"home.{name}: expected two ascending numbers in 0…{2**31}, got {value!r:.200}")
        values: dict[str, Any] = {name: tuple(it) if isinstance(it, list) else it for name, it in config.items()}
        return cls(**values)

    @property
    def config(self) -> dict[str, Any]:
        """The attributes as JSON types."""
        return {name: list(value) if isinstance(value, tuple) else value for name, value in asdict(self).items()}

    def warn_if_far(self, measured: Tensor, *, stacklevel: int) -> None:
        """Warns if many images, as the finder sees them, are far from the training images.

        Args:
            measured: ``[N, 5]``, the result of :func:`measure`.
            stacklevel: As for :func:`warnings.warn`, counted from the caller.
        """
        # The other properties of blank images mean nothing.
        measured = measured[measured[:, -1] == 0]
        found = []
        ranges = [field.name for field in fields(self) if field.name not in SWITCHES]
        for name, values in zip(ranges, measured.t(), strict=False):
            low, high = getattr(self, name)
            far = values[(values > FAR * high) | (values < low / FAR)]
            if len(far) and len(far) >= MANY * len(measured):
                what = f"{name.replace('_', ' ')} of {len(far)} {float(far.min()):.3g}…{float(far.max()):.3g}"
                found.append(f"{what} (in training {low:.3g}…{high:.3g})")
        if found:
            warnings.warn(
                f"images: expected images like those of training, got others: {', '.join(found)}; "
                "predictions may be meaningless",
                ImageWarning,
                stacklevel=stacklevel + 1,
            )
