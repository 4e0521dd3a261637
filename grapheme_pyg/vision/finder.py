"""Finder: the protocol that each mode of VisionBrain keeps, and the modes by name."""

# ruff: noqa: ARG002, ARG003 - what is there for all finders takes what some of them need

import re
from abc import abstractmethod
from dataclasses import MISSING, fields
from inspect import isclass
from typing import Any, ClassVar, Protocol

from torch import Tensor

from grapheme_pyg.vision.checks import check
from grapheme_pyg.vision.hierarchy import Hierarchy, Schema
from grapheme_pyg.vision.unroll import Dag, Vocabulary

# The arguments that VisionBrain has in every mode, other than ``in_channels``.
SETTINGS = ("mode", "edge_attr", "seg", "resize", "relative", "white", "contours", "detections")


class Finder(Protocol):
    """Finds the entities of images, level by level, and how they relate.

    A finder is a frozen dataclass. Its fields are the options of its mode, ``in_channels`` among them; it checks them
    when it is made. It defines :meth:`schema` and :meth:`find`. The other members have defaults, which a finder
    inherits from this class, and replaces where it can do more.

    Attributes:
        single_neighbours: Whether a node has at most one neighbour of each relation, so that its type says where it
            is. Then graphs have no ``edge_attr`` unless it is asked for, and exported models read fewer tensors.
        of_version_1: Options that models of version 1 of the features were made with and do not name.
    """

    __dataclass_fields__: ClassVar[dict[str, Any]]
    single_neighbours: ClassVar[bool] = False
    of_version_1: ClassVar[dict[str, Any]] = {}

    def __init__(self, *, in_channels: int, **options: Any) -> None: ...

    @abstractmethod
    def schema(self) -> Schema:
        """The words for entities and relations, which depend on the options alone."""

    @abstractmethod
    def find(self, pixels: Tensor) -> tuple[Hierarchy, Tensor]:
        """Finds the entities of images of one size; each image has at least one.

        Args:
            pixels: uint8 ``[B, C, H, W]``.

        Returns:
            The entities, and their features, float32 ``[num_entities, num_features]``. Those of an image are the same,
            bit for bit, alone and in a batch.
        """

    def find_unrolled(self, pixels: Tensor, vocabulary: Vocabulary) -> tuple[Hierarchy, Tensor, Dag] | None:
        """What :meth:`find` finds, without relations, and what :func:`grapheme_pyg.vision.unroll.unroll` makes of it.

        None, which is the default, if there is no faster way than these.
        """
        return None

    @classmethod
    def options_for(cls, size: int) -> dict[str, Any]:
        """Options that suit images of so many pixels on their longer side, unless others are given; by default none."""
        return {}

    def count_levels(self, height: int, width: int) -> int:
        """How many levels images of this size can have, if the schema may have fewer; by default 0."""
        return 0

    def lattice(self, height: int, width: int) -> Hierarchy | None:
        """All entities that an image of this size can have, if they are known without it; by default None.

        The graphs of images are then cut from the lattice's, by :meth:`measure` in place of :meth:`find`.
        """
        return None

    def within_lattice(self, size: tuple[int, int], larger: tuple[int, int]) -> tuple[Tensor, Tensor] | None:
        """Finds the lattice of one image size in that of another, if it is part of it; by default None.

        The graphs of images of several sizes are then cut from one lattice, all at once.

        Args:
            size: Height and width.
            larger: The same of images that are as high and wide, or more.

        Returns:
            Of each entity of the lattice of the size its number in the larger lattice, ascending, int64
            ``[num_entities]``, and its centre in pixels, float64 ``[num_entities, 2]``. Relations between entities are
            the same in both.
        """
        return None

    def measure(self, pixels: Tensor) -> tuple[Tensor, Tensor]:
        """Says which entities of the lattice images have, and measures them; asked only if there is a lattice.

        Args:
            pixels: uint8 ``[B, C, H, W]``.

        Returns:
            bool ``[B, num_entities + 1]``, the last column for images without any entity, which get one node of the
            lattice's last type; and their features, float32 ``[B, num_entities + 1, num_features]``.
        """
        raise TypeError(f"{type(self).__name__}: expected measure beside lattice, got none")

    def differentiable_features(self, pixels: Tensor) -> Tensor:
        """Measures entities again, with gradients; asked only if there are types that are ``differentiable``.

        :func:`grapheme_pyg.explain` puts on pixels by these gradients what the features got. What entities of other
        types got, it shares evenly among their pixels.

        Args:
            pixels: float64 ``[B, C, H, W]``, whole numbers in 0…255.

        Returns:
            ``[num_differentiable, num_features]``, of the entities of ``differentiable`` types in the order of
            :meth:`find`: its features, as functions of the pixels that are homogeneous of degree one.
        """
        raise TypeError(f"{type(self).__name__}: expected differentiable_features for its types, got none")


FINDERS: dict[str, type[Finder]] = {}


def register_finder(name: str, finder: type[Finder]) -> None:
    """Makes a finder a mode of :class:`grapheme_pyg.VisionBrain`.

    Models are saved with the name of their mode alone: register the finder before you load them.

    Args:
        name: Of the mode, in ``[a-z0-9_]+``.
        finder: A frozen dataclass that keeps the protocol; all its fields have defaults.

    Raises:
        ValueError: The name is not as above, or it is taken; the class does not keep the protocol, or has an option
            with the name of one of the brain's own arguments.
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
            raise ValueError(f"finder: expected a default of every option, got none of {option!r}")
    FINDERS[name] = finder


def make_finder(mode: str, in_channels: int, options: dict[str, Any], size: int | None = None) -> Finder:
    """The finder of a mode, for images of that size if it is known.

    Raises:
        ValueError: There is no such mode, or an option is none of its own or out of its range.
    """
    check("mode", mode, isinstance(mode, str) and mode in FINDERS, f"one of {tuple(FINDERS)}")
    known = [field.name for field in fields(FINDERS[mode]) if field.name != "in_channels"]
    if unknown := sorted(set(options) - set(known)):
        raise ValueError(f"{unknown[0]}: expected an option of mode {mode!r}, one of {known}")
    suited = {} if size is None else FINDERS[mode].options_for(size)
    return FINDERS[mode](in_channels=in_channels, **suited | options)
