"""The result of a finder: entities, level by level, and their relations. Knows no PyG and no rounds."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from grapheme_pyg.vision.arrays import Ints


@dataclass(frozen=True)
class EntityType:
    """A type of entities.

    Attributes:
        name: Name in ``[a-z0-9_]+``.
        level: Level of the hierarchy, 0 for the finest.
        num_features: Number of leading columns of ``x`` that it uses.
        rounds: Number of nodes of each entity, at least one.
        differentiable: Whether :meth:`grapheme_pyg.vision.Finder.differentiable_features` measures its entities.
    """

    name: str
    level: int
    num_features: int
    rounds: int
    differentiable: bool = False


@dataclass(frozen=True)
class RelationType:
    """A type of relations between entities of two types, which are given by number."""

    source: int
    name: str
    target: int


@dataclass(frozen=True)
class Schema:
    """All types of a finder; they depend on its configuration, never on an image.

    Attributes:
        entity_types: Types of entities, by level.
        lateral: Types of relations within a level, including ``"self"`` for each entity type; both entity types have
            the same number of rounds.
        part_of: Types of relations to a higher level. A relation from a type to itself serves levels beyond the
            configured ones. If a name ends with ``part_of``, the pixels of the part are pixels of the whole.
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
    """Entities of images of one size, sorted by image, then by level, fine to coarse.

    Shapes:
        - **image**: ``[num_entities]`` int64, ascending
        - **level**: ``[num_entities]`` int64, ascending within an image
        - **type**: ``[num_entities]`` int64, index into the schema's ``entity_types``
        - **centre**: ``[num_entities, 2]`` float64, (x right, y down) in pixels
        - **lateral**: relations between entities of one level, without ``"self"``, which is implied
        - **part_of**: relations from entities to entities of a higher level
        - **finest_of_pixel**: ``[num_images, H · W]`` int64, the finest entity at each pixel, row by row, −1 for none
        - **size**: height and width of the images in pixels
        - **alone**: ``[num_entities]`` bool, entities that stand for an image in which nothing was found and that have
          one node, whatever their type; None if there are none
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


def in_image_order(hierarchy: Hierarchy, features: Sequence[Tensor]) -> tuple[Hierarchy, Tensor]:
    """Sorts entities from several sources by image, then by level.

    Args:
        hierarchy: The entities in the order of their sources.
        features: ``[num_entities, num_features]`` of each source, in the same order.

    Returns:
        The sorted hierarchy, and the features in its order; narrower ones are padded with zeros.
    """
    levels = int(hierarchy.level.max()) + 1 if hierarchy.level.numel() else 1
    order = (hierarchy.image * levels + hierarchy.level).argsort(stable=True)
    number = torch.empty_like(order)
    number[order] = torch.arange(order.numel())
    of_pixel = hierarchy.finest_of_pixel
    lateral, part_of = (
        Relations(number[relations.source], number[relations.target], relations.type)
        for relations in (hierarchy.lateral, hierarchy.part_of)
    )
    result = replace(
        hierarchy,
        image=hierarchy.image[order],
        level=hierarchy.level[order],
        type=hierarchy.type[order],
        centre=hierarchy.centre[order],
        lateral=lateral,
        part_of=part_of,
        finest_of_pixel=torch.where(of_pixel >= 0, number[of_pixel.clamp(min=0)], -1),
        alone=None if hierarchy.alone is None else hierarchy.alone[order],
    )
    sorted_features = features[0].new_zeros(len(order), max(part.shape[1] for part in features))
    for part, places in zip(features, number.split([len(part) for part in features]), strict=True):
        sorted_features[places, : part.shape[1]] = part
    return result, sorted_features


def join(relations: Sequence[Relations]) -> Relations:
    """Concatenates relations."""
    return Relations(
        torch.cat([one.source for one in relations]),
        torch.cat([one.target for one in relations]),
        torch.cat([one.type for one in relations]),
    )


def shifted(relations: Relations, entities: int, types: int) -> Relations:
    """Adds offsets to the numbers of entities and types."""
    return Relations(relations.source + entities, relations.target + entities, relations.type + types)


def to_relations(found: Sequence[tuple[Ints, Ints, Ints]]) -> Relations:
    """Concatenates relations that are given as arrays of sources, targets and types."""
    columns = zip(*found, strict=True) if found else ((), (), ())
    return Relations(*(torch.from_numpy(np.concatenate([np.empty(0, np.int64), *column])) for column in columns))


def with_image_centre(centre: Tensor, size: tuple[int, int]) -> Tensor:
    """Appends the centre of an image of this height and width to centres ``[n, 2]`` in pixels."""
    height, width = size
    return torch.cat([centre, torch.tensor([[width / 2, height / 2]], dtype=torch.float64)])


def to_positions(centre: Tensor, size: tuple[int, int] | Tensor) -> Tensor:
    """Converts centres in pixels to positions in [0, 1], float32 ``[..., 2]``, (x right, y down)."""
    return (centre / torch.as_tensor(size).flip(-1)).float()
