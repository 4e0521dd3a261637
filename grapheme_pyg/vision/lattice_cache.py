"""LatticeCache: lattices of the image sizes that were met, kept for the next images of that size."""

from grapheme_pyg.vision.finder import Finder
from grapheme_pyg.vision.lattice import Lattice, Part, make_lattice, make_part
from grapheme_pyg.vision.unroll import Vocabulary

# In all lattices that are kept (24 bytes an edge, 36 with edge_attr).
CACHED_EDGES = 4_000_000
# Of the parts of them that are the lattices of other sizes: 16 bytes an entity.
CACHED_ENTITIES = 1_000_000


class LatticeCache:
    """Makes the lattice of an image size when it is first asked for.

    Those that were made first are forgotten first, once all together have more than ``CACHED_EDGES`` edges. Threads may
    ask at the same time.

    Args:
        finder: What has lattices, or has none.
        vocabulary: Whose rounds and types lattices have.
        edge_attr: Whether they measure edges.
        seg: Whether they keep the map from pixels to entities.
    """

    def __init__(self, finder: Finder, vocabulary: Vocabulary, *, edge_attr: bool, seg: bool) -> None:
        self._finder, self._vocabulary, self._edge_attr, self._seg = finder, vocabulary, edge_attr, seg
        self._kept: dict[tuple[int, int], Lattice] = {}
        self._parts: dict[tuple[int, int, int, int], Part] = {}

    def __len__(self) -> int:
        """How many lattices are kept."""
        return len(self._kept)

    @property
    def num_edges(self) -> int:
        """Of all lattices that are kept."""
        return sum(lattice.num_edges for lattice in self._kept.values())

    def get(self, height: int, width: int) -> Lattice | None:
        """The lattice of images of so many pixels; None if the finder has none."""
        lattice = self._kept.get((height, width))
        if lattice is None:
            hierarchy = self._finder.lattice(height, width)
            if hierarchy is None:
                return None
            lattice = make_lattice(hierarchy, self._vocabulary, edge_attr=self._edge_attr, seg=self._seg)
            self._keep(lattice)
        return lattice

    def part(self, size: tuple[int, int], larger: tuple[int, int]) -> Part | None:
        """What the lattice of one image size is in that of a larger one; None if the finder does not know."""
        part = self._parts.get((*size, *larger))
        if part is None:
            lattice, found = self.get(*larger), self._finder.within_lattice(size, larger)
            if lattice is None or found is None:
                return None
            part = make_part(lattice, *found, size)
            # Into a copy, as below.
            kept = self._parts | {(*size, *larger): part}
            room = CACHED_ENTITIES - sum(other.entity.numel() for other in kept.values())
            while room < 0:
                room += kept.pop(next(iter(kept))).entity.numel()
            self._parts = kept
        return part

    def _keep(self, lattice: Lattice) -> None:
        # Put into a copy: another thread may be looking at the old one, which is never changed.
        kept = self._kept | {lattice.size: lattice}
        num_edges = sum(other.num_edges for other in kept.values())
        while num_edges > CACHED_EDGES:
            num_edges -= kept.pop(next(iter(kept))).num_edges
        self._kept = kept
