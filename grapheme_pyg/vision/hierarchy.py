"""What a finder hands over: entities, level by level, and how they relate. Knows no PyG and no rounds."""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor


@dataclass(frozen=True)
class EntityType:
    """The word for a kind of entity.

    Attributes:
        name: In ``[a-z0-9_]+``.
        level: The level at which it stands, 0 the finest.
        num_features: How many leading columns of ``x`` it uses.
        rounds: How many nodes each entity has, at least one.
        differentiable: Whether :meth:`grapheme_pyg.vision.Finder.differentiable_features` measures entities again.
    """

    name: str
    level: int
    num_features: int
    rounds: int
    differentiable: bool = False


@dataclass(frozen=True)
class RelationType:
    """The word for a relation between two kinds of entities, given by number."""

    source: int
    name: str
    target: int


@dataclass(frozen=True)
class Schema:
    """All words of a finder; they depend on its configuration, never on an image.

    Attributes:
        entity_types: By level.
        lateral: Relations within a level, ``"self"`` of each type among them; both types have equally many rounds.
        part_of: Relations to a higher level. One from a type to itself is for levels beyond the configured ones. Where
            a name ends with ``part_of``, the pixels of the part are pixels of the whole.
    """

    entity_types: tuple[EntityType, ...]
    lateral: tuple[RelationType, ...]
    part_of: tuple[RelationType, ...]


@dataclass(frozen=True)
class Relations:
    """Directed relations between entities.

    Shapes:
        - **source**, **target**: ``[num_relations]`` int64, entities
        - **type**: ``[num_relations]`` int64, index into the schema's ``lateral`` or ``part_of``
    """

    source: Tensor
    target: Tensor
    type: Tensor


_NOTHING = torch.empty(0, dtype=torch.int64)
NO_RELATIONS = Relations(_NOTHING, _NOTHING, _NOTHING)


@dataclass(frozen=True)
class Hierarchy:
    """Entities of images of one size: image by image, level by level, fine to coarse, in image order.

    Shapes:
        - **image**: ``[num_entities]`` int64, ascending
        - **level**: ``[num_entities]`` int64, ascending within an image
        - **type**: ``[num_entities]`` int64, index into the schema's ``entity_types``
        - **centre**: ``[num_entities, 2]`` float64, (x right, y down) in pixels
        - **lateral**: relations between entities of one level (an entity's relation to itself is implied)
        - **part_of**: relations from entities to entities of a higher level
        - **finest_of_pixel**: ``[num_images, H · W]`` int64, the finest entity at each pixel, row by row, −1 where none
        - **size**: height and width of the images in pixels
        - **alone**: ``[num_entities]`` bool, entities that stand for an image in which nothing was found, and have one
          node whatever their type; None if there are none
    """

    num_images: int
    image: Tensor
    level: Tensor
    type: Tensor
    centre: Tensor
    lateral: Relations
    part_of: Relations
    finest_of_pixel: Tensor
    size: tuple[int, int]
    alone: Tensor | None = None


def image_order(image: Tensor, level: Tensor) -> tuple[Tensor, Tensor]:
    """How to sort entities that were put together from several sources: by image, then level, else as they are.

    Args:
        image: ``[num_entities]`` int64.
        level: ``[num_entities]`` int64.

    Returns:
        The old number of each new entity, and the new one of each old entity.
    """
    levels = int(level.max()) + 1 if level.numel() else 1
    order = (image * levels + level).argsort(stable=True)
    number = torch.empty_like(order)
    number[order] = torch.arange(order.numel())
    return order, number


def renumber(entities: Tensor, number: Tensor) -> Tensor:
    """New numbers of entities, −1 where there is none."""
    return torch.where(entities >= 0, number[entities.clamp(min=0)], -1)


def stack_features(parts: list[Tensor]) -> Tensor:
    """Features of several kinds of entities, the narrower ones padded with zeros."""
    width = max(part.shape[1] for part in parts)
    return torch.cat([F.pad(part, (0, width - part.shape[1])) for part in parts])
