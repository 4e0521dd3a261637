"""LatticeCache keeps the lattices of image sizes for the next images of those sizes."""

from grapheme_pyg.vision.finder import Finder
from grapheme_pyg.vision.lattice import Lattice, make_lattice
from grapheme_pyg.vision.unroll import Vocabulary

# Largest number of edges in all kept lattices (24 bytes an edge, 36 with edge_attr).
CACHED_EDGES = 4_000_000


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
            # A copy, because other threads may read the original.
            kept = self._kept | {lattice.size: lattice}
            total = sum(one.num_edges for one in kept.values())
            while total > CACHED_EDGES:
                total -= kept.pop(next(iter(kept))).num_edges
            self._kept = kept
        return lattice
