"""VisionBrain: images → directed acyclic graphs, by signal processing alone."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch_geometric.data import Batch
from torch_geometric.transforms import BaseTransform
from torch_geometric.typing import EdgeType

from grapheme_pyg.vision.grid import GridFinder
from grapheme_pyg.vision.image_graph import ImageGraph
from grapheme_pyg.vision.lattice import Lattice, make_lattice, restrict
from grapheme_pyg.vision.pixels import to_pixel_batch, to_pixels
from grapheme_pyg.vision.unroll import Vocabulary

if TYPE_CHECKING:
    from grapheme_pyg.vision.pixels import Image, Images

# Lattices are kept for reuse while they have no more edges than this in all (24 bytes an edge, 36 with edge_attr).
CACHED_EDGES = 4_000_000


class VisionBrain(BaseTransform):
    r"""Turns each image into its own directed acyclic graph. Nothing in it is learned.

    In ``mode="grid"`` a node stands for a cell of pixels that has contrast, at a level of a pyramid of ever
    coarser cells and at a round of computation. Edges run from each cell's node to those of its active
    neighbours in the next round, and from the last round of a level to the coarser cells above it
    (overlapping 3×3 windows at stride 2). An edge's type is its relation, such as ``north_east_of``,
    between two node types: as in a convolution kernel, there are nine for each pair.

    The graph of an image is the subgraph that its active cells induce in the lattice of all cells; a coarse
    cell is active if a cell that is part of it is. An image without any active cell becomes one node.

    Args:
        mode: How entities are found. ``"grid"`` is the only mode so far.
        in_channels: 1 (colour images become ITU-R 601 luma) or 3 (grey images are repeated).
        patch_size: Side of the finest cells in pixels.
        threshold: A finest cell is active if max − min over its pixels, in any channel, exceeds this. In
            levels of 0…255, so that uint8, float and inverted images agree.
        margin: How many pixels around a finest cell count as its own, in that comparison and in its features.
        rounds: For each configured level, fine to coarse, how many nodes each cell has; at least two levels.
            Levels are added until the grid is at most 4×4; those beyond share the last one's types.
        extend: Whether there are levels beyond the configured ones. Without them the top grid of a large image is
            larger than 4×4, and a model has no weights that small images would leave untrained.
        edge_attr: Whether graphs carry ``edge_attr``, the offsets from target to source.
        seg: Whether graphs carry ``seg``, the map from pixels to the nodes of the finest level.

    Shapes:
        - **image**: see :meth:`forward`
        - **output**: :class:`ImageGraph`

    Raises:
        ValueError: An argument is out of its range.

    Example:
        >>> brain = VisionBrain()
        >>> graph = brain(torch.eye(8))
        >>> graph.num_nodes, graph.num_edges
        (32, 103)
    """

    def __init__(
        self,
        mode: str = "grid",
        *,
        in_channels: int = 1,
        patch_size: int = 2,
        threshold: int = 32,
        margin: int = 1,
        rounds: Sequence[int] = (2, 3, 2),
        extend: bool = True,
        edge_attr: bool = False,
        seg: bool = False,
    ) -> None:
        _check("mode", mode, mode == "grid", "'grid'")
        _check("in_channels", in_channels, _is_int(in_channels, 1) and in_channels in (1, 3), "1 or 3")
        _check("patch_size", patch_size, _is_int(patch_size, 1), "a positive integer")
        _check("threshold", threshold, _is_int(threshold, 0) and threshold < 255, "an integer in 0…254")
        _check("margin", margin, _is_int(margin, 0), "a non-negative integer")
        _check(
            "margin", margin, patch_size + 2 * margin > 1, "at least 1 for cells of one pixel, which has no contrast"
        )
        several = isinstance(rounds, Sequence) and len(rounds) >= 2
        positive = several and all(_is_int(count, 1) for count in rounds)
        _check("rounds", rounds, positive, "at least two positive integers")
        for name, value in (("extend", extend), ("edge_attr", edge_attr), ("seg", seg)):
            _check(name, value, isinstance(value, bool), "True or False")
        self.mode, self.in_channels, self.patch_size = mode, in_channels, patch_size
        self.threshold, self.margin, self.rounds = threshold, margin, tuple(rounds)
        self.extend, self.edge_attr, self.seg = extend, edge_attr, seg
        self._finder = GridFinder(patch_size, in_channels, threshold, margin, None if extend else len(rounds))
        self._vocabulary = Vocabulary(self._finder.levels(len(rounds)), rounds, extend=extend)
        self._lattices: dict[tuple[int, int], Lattice] = {}

    @property
    def config(self) -> dict[str, Any]:
        """The constructor's arguments, in types that JSON has."""
        names = ("mode", "in_channels", "patch_size", "threshold", "margin", "extend", "edge_attr", "seg")
        return {name: getattr(self, name) for name in names} | {"rounds": list(self.rounds)}

    @property
    def metadata(self) -> tuple[list[str], list[EdgeType]]:
        """Names of node types and triples of edge types, as in PyG's ``HeteroData.metadata()``.

        They depend on the configuration, never on an image.
        """
        return list(self._vocabulary.node_types), list(self._vocabulary.edge_types)

    @property
    def node_features(self) -> list[int]:
        """For each node type, how many leading columns of ``x`` it uses; the rest are zero."""
        return [self._vocabulary.levels[level].num_features for level in self.node_levels]

    @property
    def node_levels(self) -> list[int]:
        """For each node type, its configured level of the hierarchy, 0 the finest."""
        return self._vocabulary.node_levels

    @property
    def node_rounds(self) -> list[int]:
        """For each node type, its round of computation, 0 the first."""
        return self._vocabulary.node_rounds

    @property
    def num_features(self) -> int:
        """Width of ``x``."""
        return max(self.node_features)

    def forward(self, image: "Image") -> ImageGraph:
        """The graph of one image.

        Args:
            image: A PIL image, an array ``[H, W]`` or ``[H, W, C]``, or a tensor ``[H, W]`` or ``[C, H, W]``
                with C = 1 or 3; uint8, or float in [0, 1].

        Returns:
            The graph. The same image gives the same graph, bit for bit, alone or in a batch.

        Raises:
            ValueError: The image is empty, of another shape or dtype, not finite or outside [0, 1].
        """
        graph: ImageGraph = self._build(to_pixels(image, self.in_channels)[None])[0]
        return graph

    def batch(self, images: "Images", y: Tensor | Sequence[int] | None = None) -> Batch:
        """The graphs of many images at once, vectorised over images of one size.

        Args:
            images: A tensor ``[N, H, W]`` or ``[N, C, H, W]``, an array ``[N, H, W]`` or ``[N, H, W, C]``, or a
                sequence of images of any sizes as :meth:`forward` takes them.
            y: Classes, ``[N]`` int64.

        Returns:
            What ``Batch.from_data_list([brain(image) for image in images])`` gives.

        Raises:
            ValueError: As :meth:`forward`; there are no images, or not as many classes.
        """
        runs = to_pixel_batch(images, self.in_channels)
        num_images = sum(run.shape[0] for run in runs)
        if num_images == 0:
            raise ValueError("images: expected at least one image, got none")
        if y is not None:
            y = _to_classes(y, num_images)
        if len(runs) == 1:
            batch = self._build(runs[0], y)
        else:
            classes = y.split([run.shape[0] for run in runs]) if y is not None else [None] * len(runs)
            batches = [self._build(run, part) for run, part in zip(runs, classes, strict=True)]
            batch = Batch.from_data_list([graph for part in batches for graph in part.to_data_list()])
        return batch

    def _build(self, pixels: Tensor, y: Tensor | None = None) -> Batch:
        present, features = self._finder.measure(pixels)
        return restrict(self._lattice(*pixels.shape[-2:]), present, features, y)

    def _lattice(self, height: int, width: int) -> Lattice:
        lattice = self._lattices.get((height, width))
        if lattice is None:
            hierarchy = self._finder.lattice(height, width)
            lattice = make_lattice(hierarchy, self._vocabulary, edge_attr=self.edge_attr, seg=self.seg)
            kept = sum(other.num_edges for other in self._lattices.values())
            while self._lattices and kept + lattice.num_edges > CACHED_EDGES:
                kept -= self._lattices.pop(next(iter(self._lattices))).num_edges
            if lattice.num_edges <= CACHED_EDGES:
                self._lattices[height, width] = lattice
        return lattice

    def __repr__(self) -> str:
        arguments = ", ".join(f"{name}={value!r}" for name, value in self.config.items())
        return f"{type(self).__name__}({arguments})"


def _is_int(value: object, minimum: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= minimum


def _to_classes(y: Tensor | Sequence[int], num_images: int) -> Tensor:
    """A copy, as PyG's collation makes one."""
    expected = f"y: expected an int64 tensor of shape [{num_images}]"
    try:
        classes = y.clone() if isinstance(y, Tensor) else torch.tensor(y)
    except (TypeError, ValueError, RuntimeError) as error:
        raise ValueError(f"{expected}, got {y!r}") from error
    if classes.dtype != torch.int64 or classes.shape != (num_images,):
        raise ValueError(f"{expected}, got {classes.dtype} of shape {list(classes.shape)}")
    return classes


def _check(name: str, value: object, valid: bool, expected: str) -> None:
    if not valid:
        raise ValueError(f"{name}: expected {expected}, got {value!r}")
