"""What a finder hands over: entities, level by level, and how they relate. Knows no PyG and no rounds."""

from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True)
class Relations:
    """Directed relations between entities, each with a name by number.

    Shapes:
        - **source**, **target**: ``[num_relations]`` int64, entities
        - **kind**: ``[num_relations]`` int64, index into the names of the level's relations
    """

    source: Tensor
    target: Tensor
    kind: Tensor


@dataclass(frozen=True)
class Hierarchy:
    """Entities of one image, level by level, fine to coarse, in image order within each level.

    Shapes:
        - **level**: ``[num_entities]`` int64, ascending from 0
        - **centre**: ``[num_entities, 2]`` float64, (x right, y down) in pixels
        - **lateral**: relations between entities of one level (an entity's relation to itself is implied)
        - **part_of**: relations from entities to entities of the next level
        - **finest_of_pixel**: ``[H · W]`` int64, the entity of the finest level at each pixel, row by row
        - **size**: height and width of the image in pixels
    """

    level: Tensor
    centre: Tensor
    lateral: Relations
    part_of: Relations
    finest_of_pixel: Tensor
    size: tuple[int, int]


@dataclass(frozen=True)
class LevelSpec:
    """The words for one configured level; further levels of an image share the last one's.

    Attributes:
        name: Of its entities, in ``[a-z0-9_]+``.
        lateral: Names of the relations within the level, ``"self"`` among them.
        part_of: Names of the relations to the next level.
        num_features: How many leading columns of ``x`` its entities use.
    """

    name: str
    lateral: tuple[str, ...]
    part_of: tuple[str, ...]
    num_features: int
