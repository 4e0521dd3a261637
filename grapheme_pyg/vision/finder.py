"""Finder, the protocol that each mode of VisionBrain implements, and the registry of modes."""

# ruff: noqa: ARG002, ARG003 - defaults do not use the arguments

import re
from abc import abstractmethod
from dataclasses import MISSING, fields
from inspect import isclass
from typing import Any, ClassVar, Protocol

from torch import Tensor

from grapheme_pyg.vision.checks import check
from grapheme_pyg.vision.hierarchy import Hierarchy, Schema
from grapheme_pyg.vision.unroll import Dag, Vocabulary

# Arguments of VisionBrain in every mode, apart from ``in_channels``.
SETTINGS = ("mode", "edge_attr", "seg", "resize", "relative", "white", "contours", "detections")


class Finder(Protocol):
    """Finds the entities of images, level by level, and their relations.

    A finder is a frozen dataclass. Its fields are the options of its mode, including ``in_channels``, and it validates
    them on creation. It implements :meth:`schema` and :meth:`find`. The other members have defaults, which it inherits
    from this class and can override.

    Attributes:
        single_neighbours: Whether a node has at most one neighbour of each relation, so that the relation says where
            the neighbour is. Graphs then have no ``edge_attr`` by default, and exported models read fewer tensors.
        of_version_1: Options with which models of version 1 of the features were made, and which their files omit.
    """

    __dataclass_fields__: ClassVar[dict[str, Any]]
    single_neighbours: ClassVar[bool] = False
    of_version_1: ClassVar[dict[str, Any]] = {}

    def __init__(self, *, in_channels: int, **options: Any) -> None: ...

    @abstractmethod
    def schema(self) -> Schema:
        """Returns the types of entities and relations, which depend only on the options."""

    @abstractmethod
    def find(self, pixels: Tensor) -> tuple[Hierarchy, Tensor]:
        """Finds the entities of images of one size, at least one for each image.

        Args:
            pixels: uint8 ``[B, C, H, W]``.

        Returns:
            The entities, and their features, float32 ``[num_entities, num_features]``. For each image they are the
            same, bit for bit, alone and in a batch.
        """

    def find_unrolled(self, pixels: Tensor, vocabulary: Vocabulary) -> tuple[Hierarchy, Tensor, Dag] | None:
        """Returns the result of :meth:`find` without relations, and its unrolled graph; None by default.

        It is for finders that can unroll faster than :func:`grapheme_pyg.vision.unroll.unroll`.
        """
        return None

    @classmethod
    def options_for(cls, size: int) -> dict[str, Any]:
        """Returns default options for images with a longer side of ``size`` pixels; none by default."""
        return {}

    def count_levels(self, height: int, width: int) -> int:
        """Returns the number of levels of images of this size, if it can exceed that of the schema; 0 by default."""
        return 0

    def lattice(self, height: int, width: int) -> Hierarchy | None:
        """Returns all entities that an image of this size can have, or None, which is the default.

        The graphs of images are then subgraphs of the lattice's, and :meth:`measure` is used in place of :meth:`find`.
        """
        return None

    def measure(self, pixels: Tensor) -> tuple[Tensor, Tensor]:
        """Finds the lattice's entities in images and measures them; needed only if there is a lattice.

        Args:
            pixels: uint8 ``[B, C, H, W]``.

        Returns:
            Which entities images have, bool ``[B, num_entities + 1]``, with a last column for images without any, which
            get one node of the lattice's last type; and features, float32 ``[B, num_entities + 1, num_features]``.
        """
        raise TypeError(f"{type(self).__name__}: expected a method measure for its lattice, got none")

    def measure_within(self, pixels: Tensor, sizes: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor] | None:
        """Does the same for images of several sizes at once; returns None by default.

        The lattice of images of ``H × W`` pixels must contain those of smaller images, with the same relations between
        their entities, and one type of entity on each level. All graphs are then subgraphs of this lattice.

        Args:
            pixels: uint8 ``[B, C, H, W]``, images in the upper left corners.
            sizes: ``[B, 2]`` int64, their heights and widths.

        Returns:
            As :meth:`measure`, with the entities of images of ``H × W`` pixels; then the centres of entities in pixels,
            float64 ``[B, num_entities + 1, 2]``, the last ones those of the images; and the number of levels of each
            image's own lattice, int64 ``[B]``.
        """
        return None

    def differentiable_features(self, pixels: Tensor) -> Tensor:
        """Measures the entities of ``differentiable`` types with gradients; needed only if there are such types.

        :func:`grapheme_pyg.explain` uses these gradients to distribute the attributions of features over pixels.
        Attributions of other entities are distributed evenly over their pixels.

        Args:
            pixels: float64 ``[B, C, H, W]``, whole numbers in 0…255.

        Returns:
            ``[num_differentiable, num_features]``, features of these entities in the order of :meth:`find`, as
            functions of the pixels that are homogeneous of degree one.
        """
        raise TypeError(f"{type(self).__name__}: expected a method differentiable_features for its types, got none")


FINDERS: dict[str, type[Finder]] = {}


def register_finder(name: str, finder: type[Finder]) -> None:
    """Registers a finder as a mode of :class:`grapheme_pyg.VisionBrain`.

    Saved models contain only the name of their mode, so register the finder before you load them.

    Args:
        name: Name of the mode, in ``[a-z0-9_]+``.
        finder: A frozen dataclass that implements the protocol; all its fields have defaults.

    Raises:
        ValueError: The name is invalid or taken; or the class does not implement the protocol, or has an option with
            the name of an argument of the brain.
    """
    fits = isinstance(name, str) and re.fullmatch("[a-z0-9_]+", name) is not None
    check("name", name, fits, "letters a…z, digits and underscores")
    check("name", name, name not in FINDERS, f"a name other than those of {tuple(FINDERS)}")
    params: Any = getattr(finder, "__dataclass_params__", None)
    check("finder", finder, isclass(finder) and params is not None and params.frozen, "a frozen dataclass")
    members = [member for member in vars(Finder) if not member.startswith("_")]
    abstract = getattr(finder, "__abstractmethods__", ())
    if missing := [member for member in members if not hasattr(finder, member) or member in abstract]:
        raise ValueError(f"finder: expected the members of Finder, got {finder.__name__} without {missing[0]!r}")
    options = {field.name: field for field in fields(finder)}
    if "in_channels" not in options:
        raise ValueError(f"finder: expected a field in_channels, got {list(options)}")
    for option, field in options.items():
        if option in SETTINGS:
            raise ValueError(f"finder: expected options other than {SETTINGS}, got {option!r}")
        if field.default is MISSING and field.default_factory is MISSING:
            raise ValueError(f"finder: expected a default for every option, got none for {option!r}")
    FINDERS[name] = finder


def make_finder(mode: str, in_channels: int, options: dict[str, Any], size: int | None = None) -> Finder:
    """Makes the finder of a mode, with defaults for a size of images if it is known.

    Raises:
        ValueError: There is no such mode, or an option is unknown or out of range.
    """
    check("mode", mode, isinstance(mode, str) and mode in FINDERS, f"one of {tuple(FINDERS)}")
    known = [field.name for field in fields(FINDERS[mode]) if field.name != "in_channels"]
    if unknown := sorted(set(options) - set(known)):
        raise ValueError(f"{unknown[0]}: expected an option of mode {mode!r}, one of {known}")
    suited = {} if size is None else FINDERS[mode].options_for(size)
    return FINDERS[mode](in_channels=in_channels, **suited | options)
