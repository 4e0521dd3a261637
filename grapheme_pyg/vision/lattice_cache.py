"""LatticeCache keeps the lattices of image sizes for the next images of those sizes."""

from collections.abc import Callable
from typing import TypeVar

from grapheme_pyg.vision.finder import Finder
from grapheme_pyg.vision.lattice import Lattice, Part, make_lattice, make_part
from grapheme_pyg.vision.unroll import Vocabulary

# Largest number of edges in all kept lattices (24 bytes an edge, 36 with edge_attr).
CACHED_EDGES = 4_000_000
# Largest number of entities in all kept parts of lattices (16 bytes an entity).
CACHED_ENTITIES = 1_000_000

K = TypeVar("K")
V = TypeVar("V")


class LatticeCache:
    """Makes the lattice of an image size when it is first needed.

    The oldest lattices are dropped when all together have more than ``CACHED_EDGES`` edges. It is safe to use in
    several threads.

    Args:
        finder: The finder, which may have no lattices.
        vocabulary: Rounds and types of the lattices.
        edge_attr: Whether lattices measure edges.
        seg: Whether lattices keep the map from pixels to entities.
    """

    def __init__(self, finder: Finder, vocabulary: Vocabulary, *, edge_attr: bool, seg: bool) -> None:
        self._finder, self._vocabulary, self._edge_attr, self._seg = finder, vocabulary, edge_attr, seg
        self._kept: dict[tuple[int, int], Lattice] = {}
        self._parts: dict[tuple[int, int, int, int], Part] = {}

    def __len__(self) -> int:
        """Returns the number of kept lattices."""
        return len(self._kept)

    @property
    def num_edges(self) -> int:
        """Number of edges in all kept lattices."""
        return sum(lattice.num_edges for lattice in self._kept.values())

    def get(self, height: int, width: int) -> Lattice | None:
        """Returns the lattice of images of this size; None if the finder has none."""
        lattice = self._kept.get((height, width))
        if lattice is None:
            hierarchy = self._finder.lattice(height, width)
            if hierarchy is None:
                return None
            lattice = make_lattice(hierarchy, self._vocabulary, edge_attr=self._edge_attr, seg=self._seg)
            self._kept = _added(self._kept, lattice.size, lattice, CACHED_EDGES, lambda one: one.num_edges)
        return lattice

    def part(self, size: tuple[int, int], larger: tuple[int, int]) -> Part | None:
        """Returns the lattice of one image size as a part of that of a larger one; None if the finder has none."""
        part = self._parts.get((*size, *larger))
        if part is None:
            lattice, found = self.get(*larger), self._finder.within_lattice(size, larger)
            if lattice is None or found is None:
                return None
            part = make_part(lattice, *found, size)
            self._parts = _added(self._parts, (*size, *larger), part, CACHED_ENTITIES, lambda one: one.entity.numel())
        return part


def _added(kept: dict[K, V], key: K, value: V, limit: int, size: Callable[[V], int]) -> dict[K, V]:
    """Adds a value to a copy, because other threads may read the original, and drops the oldest ones over a limit."""
    kept = kept | {key: value}
    total = sum(map(size, kept.values()))
    while total > limit:
        total -= size(kept.pop(next(iter(kept))))
    return kept
