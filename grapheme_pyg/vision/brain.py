"""VisionBrain: images → directed acyclic graphs, by signal processing alone."""

from dataclasses import asdict, replace
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch_geometric.data import Batch
from torch_geometric.transforms import BaseTransform
from torch_geometric.typing import EdgeType

from grapheme_pyg.labels import to_labels
from grapheme_pyg.vision.assemble import assemble
from grapheme_pyg.vision.checks import check, is_int, plain
from grapheme_pyg.vision.contours import add_contours, with_contours
from grapheme_pyg.vision.detections import add_detections, with_detections
from grapheme_pyg.vision.finder import SETTINGS, make_finder
from grapheme_pyg.vision.ground import relative_to_ground
from grapheme_pyg.vision.hierarchy import NO_RELATIONS
from grapheme_pyg.vision.image_batches import to_pixel_batch, warn_if_dark
from grapheme_pyg.vision.image_graph import ImageGraph, together
from grapheme_pyg.vision.lattice import Lattice, Part, restrict, restrict_parts
from grapheme_pyg.vision.lattice_cache import LatticeCache
from grapheme_pyg.vision.pixels import resized, to_pixels
from grapheme_pyg.vision.unroll import Vocabulary, unroll

if TYPE_CHECKING:
    from grapheme_pyg.vision.pixels import Image, Images

# The graphs of images of at most so many pixels are cut from the lattice of all cells; those of larger ones are put
# together cell by cell, which takes memory only for cells that are there.
LATTICE_PIXELS = 2**16
# Images of several sizes may share a lattice of so many times their pixels.
SPARE = 4
# Pixels a side that images are brought to: settings may come from a file, and small images would become huge.
LARGEST_RESIZE = 4096


class VisionBrain(BaseTransform):
    r"""Turns each image into its own directed acyclic graph. Nothing in it is learned.

    A finder looks for entities, level by level, fine to coarse, and for relations among them. A node stands for an
    entity at a round of computation. Edges run from entities to their neighbours in the next round, and from the last
    round of a part to the first of its whole. An edge's type is its relation, such as ``north_east_of``, between two
    node types. What is found depends on the mode:

    - ``"grid"``: cells of pixels that have contrast, and ever coarser cells above them. The graph of an image is the
      subgraph that its active cells induce in the lattice of all cells; a coarse cell is active if a cell that is part
      of it is. An image without any active cell becomes one node.
      Options: :class:`grapheme_pyg.vision.grid.GridFinder`.
    - ``"blob"``: connected components at several thresholds, light and dark, nested in one another.
      Options: :class:`grapheme_pyg.vision.blob.BlobFinder`.
    - ``"superpixel"``: regions of SLIC, and what they merge into.
      Options: :class:`grapheme_pyg.vision.superpixel.SuperpixelFinder`.
    - ``"hybrid"``: a grid and blobs of the same image, each cell part of the smallest blob that contains its centre.
      Options: those of both.

    Two brains are equal, and have the same hash, if they are of one type and have the same settings.

    Attributes:
        finder: That of the mode, made of its options.
        node_features: For each node type, how many leading columns of ``x`` it uses; the rest are zero.
        node_kinds: For each node type, the number of its entity type.
        node_levels: For each node type, its configured level of the hierarchy, 0 the finest.
        node_rounds: For each node type, its round of computation, 0 the first.
        num_features: Width of ``x``.

    Args:
        mode: How entities are found: as above, or as :func:`grapheme_pyg.vision.register_finder` was told.
        in_channels: 1 (colour images become ITU-R 601 luma) or 3 (grey images are repeated).
        edge_attr: Whether graphs carry ``edge_attr``, the offsets from target to source; the mode's default if None,
            which is yes but where types say it all, as in the grid.
        seg: Whether graphs carry ``seg``, the map from pixels to the nodes of the finest entities.
        resize: To how many pixels, at most 4096, the longer side of each image is brought first, in proportion; None
            leaves images as they are. ``"training"`` leaves them, too, until :func:`grapheme_pyg.fit` has seen training
            images of one size: it then becomes that size, so that a model takes the same things in other resolutions.
            Images are enlarged to more than 256 pixels at most 8 times; smaller ones are refused.
        relative: Whether grey images are taken relative to their ground and contrast, by
            :func:`grapheme_pyg.vision.ground.relative_to_ground`, so that polarity, brightness and contrast hardly
            matter; if None, which is the default, exactly if ``in_channels`` is 1.
        white: Which level of PIL images of 16 bits is white, in 1…65535; found out for each if None. With that of the
            training images, a model takes others as bright as those.
        contours: Whether finest entities that one contour crosses are related.
        detections: Whether edges and corners are entities too, inside the others.
        options: Of the mode.

    Shapes:
        - **image**: see :meth:`forward`
        - **output**: :class:`ImageGraph`

    Raises:
        ValueError: An argument is out of its range, or no option of the mode.

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
        edge_attr: bool | None = None,
        seg: bool = False,
        resize: int | str | None = "training",
        relative: bool | None = None,
        white: int | None = None,
        contours: bool = False,
        detections: bool = False,
        **options: Any,
    ) -> None:
        in_channels, resize, white = plain(in_channels), plain(resize), plain(white)
        options = {name: plain(value) for name, value in options.items()}
        check("in_channels", in_channels, is_int(in_channels, 1) and in_channels in (1, 3), "1 or 3")
        size = None if resize == "training" else resize
        valid = size is None or (isinstance(size, int) and is_int(size, 1) and size <= LARGEST_RESIZE)
        check("resize", resize, valid, f"an integer in 1…{LARGEST_RESIZE}, 'training' or None")
        self.finder = make_finder(mode, in_channels, options, size if isinstance(size, int) else None)
        if edge_attr is None:
            edge_attr = not self.finder.single_neighbours
        if relative is None:
            relative = in_channels == 1
        switches = {"edge_attr": edge_attr, "seg": seg, "contours": contours, "detections": detections}
        switches["relative"] = relative
        for name, value in switches.items():
            check(name, value, isinstance(value, bool), "True or False")
        check("relative", relative, not relative or in_channels == 1, "False for images in colour")
        check("white", white, white is None or (is_int(white, 1) and white < 2**16), "an integer in 1…65535 or None")
        self.mode, self.in_channels, self.edge_attr, self.seg = mode, in_channels, edge_attr, seg
        self.resize, self.relative, self.white = resize, relative, white
        self.contours, self.detections = contours, detections
        schema = with_contours(self.finder.schema()) if contours else self.finder.schema()
        schema = with_detections(schema) if detections else schema
        self._vocabulary = words = Vocabulary(schema)
        self.node_kinds, self.node_levels, self.node_rounds = words.node_kinds, words.node_levels, words.node_rounds
        self.node_features = [schema.entity_types[kind].num_features for kind in self.node_kinds]
        self.num_features = max(self.node_features)
        self._lattices = LatticeCache(self.finder, words, edge_attr=edge_attr, seg=seg)

    @property
    def config(self) -> dict[str, Any]:
        """The constructor's arguments, in types that JSON has."""
        settings = {name: getattr(self, name) for name in SETTINGS} | asdict(self.finder)
        return {name: list(value) if isinstance(value, tuple) else value for name, value in settings.items()}

    @property
    def longer_side(self) -> int | None:
        """To how many pixels the longer side of each image is brought; None if images stay as they are."""
        return self.resize if isinstance(self.resize, int) else None

    def for_images_of(self, height: int, width: int) -> "VisionBrain":
        """The brain for training on images of one size: this one, unless that is what ``resize`` waits for."""
        if self.resize != "training":
            return self
        return type(self)(**self.config | {"resize": min(max(height, width), LARGEST_RESIZE)})

    @property
    def metadata(self) -> tuple[list[str], list[EdgeType]]:
        """Names of node types and triples of edge types, as in PyG's ``HeteroData.metadata()``.

        They depend on the configuration, never on an image.
        """
        return list(self._vocabulary.node_types), list(self._vocabulary.edge_types)

    def generations(self, size: int) -> list[tuple[int, int]]:
        """Level and node type of all groups of nodes that graphs can have, in the order in which they are computed.

        Args:
            size: Of the images, at most so many pixels a side; some finders have more levels for larger images.
        """
        size = self.longer_side or size
        num_levels = max(self._vocabulary.num_levels, self.finder.count_levels(size, size))
        return self._vocabulary.generations(num_levels)

    def __call__(self, image: Any) -> ImageGraph:
        """As :meth:`forward`. The base class would copy the image first, by pickling it, which not every kind bears."""
        return self.forward(image)

    def forward(self, image: "Image") -> ImageGraph:
        """The graph of one image.

        Args:
            image: A PIL image of any mode, an array ``[H, W]`` or ``[H, W, C]``, or a tensor ``[H, W]`` or
                ``[C, H, W]`` with C = 1 or 3; uint8, float in [0, 1], or bool. Levels that end far below white are
                warned of.

        Returns:
            The graph. The same image gives the same graph, bit for bit, alone or in a batch.

        Raises:
            ImageError: The image is empty, of another shape or dtype, not finite or outside [0, 1]; it is of a file
                that is broken or too large; or it is too small for ``resize``.
        """
        pixels = to_pixels(image, self.in_channels, white=self.white)[None]
        warn_if_dark([pixels], relative=self.relative)
        graph: ImageGraph = self._build(pixels)[0]
        return graph

    def batch(self, images: "Images", y: Any = None) -> Batch:
        """The graphs of many images at once, vectorised over images of one size.

        Args:
            images: A tensor ``[N, H, W]`` or ``[N, C, H, W]``, an array ``[N, H, W]`` or ``[N, H, W, C]``, or a
                sequence of images of any sizes as :meth:`forward` takes them. What may be one image in colour as well
                as several grey ones is refused, unless ``y`` says how many there are.
            y: Classes, ``[N]``, as :func:`grapheme_pyg.labels.to_labels` takes them.

        Returns:
            What ``Batch.from_data_list([brain(image) for image in images])`` gives.

        Raises:
            ImageError: As :meth:`forward`; the message names the position of the image.
            ValueError: There are no images, or not as many classes.
        """
        if y is not None:
            y = to_labels(y, name="y")
        stacks, positions = to_pixel_batch(
            images, self.in_channels, count=None if y is None else len(y), white=self.white
        )
        warn_if_dark(stacks, relative=self.relative)
        if not positions:
            raise ValueError("images: expected at least one image, got none")
        if y is not None and len(y) != len(positions):
            raise ValueError(f"y: expected {len(positions)} classes, one for each image, got {len(y)}")
        if len(stacks) == 1:
            return self._build(stacks[0], y)
        places = torch.tensor(positions)
        return self._build_sizes(stacks, list(places.split([len(stack) for stack in stacks])), y)

    def _build_sizes(self, stacks: list[Tensor], places: list[Tensor], y: Tensor | None) -> Batch:
        """The graphs of images of several sizes, each stack with the places of its images in the batch.

        Those of similar sizes are cut from one lattice, which saves the time that every single batch takes.
        """
        ready = [self.prepared(stack) for stack in stacks]
        similar: dict[tuple[int, int], list[tuple[int, Part]]] = {}
        batches, positions = [], []
        shares = not (self.contours or self.detections or self.edge_attr or self.seg)
        for i, (pixels, larger) in enumerate(zip(ready, _sizes_of_lattices(ready), strict=True)):
            height, width = pixels.shape[-2:]
            part = self._lattices.part((height, width), larger) if shares and larger is not None else None
            if larger is not None and part is not None:
                similar.setdefault(larger, []).append((i, part))
            else:
                batches.append(self._build(stacks[i], None if y is None else y[places[i]]))
                positions.append(places[i])
        for larger, some in similar.items():
            at = torch.cat([places[i] for i, _ in some])
            sizes = torch.tensor([stacks[i].shape[-2:] for i, _ in some])
            counts = torch.tensor([len(places[i]) for i, _ in some])
            order = at.argsort()
            lattice = self._lattice(*larger)
            assert lattice is not None, "lattice: expected one, as it has parts"
            restricted = restrict_parts(
                lattice,
                [part for _, part in some],
                [self.finder.measure(ready[i]) for i, _ in some],
                order.argsort(),
                sizes.repeat_interleave(counts, dim=0)[order],
                None if y is None else y[at[order]],
            )
            batches.append(restricted)
            positions.append(at[order])
        return batches[0] if len(batches) == 1 else together(batches, torch.cat(positions).argsort())

    def _build(self, pixels: Tensor, y: Tensor | None = None) -> Batch:
        height, width = pixels.shape[-2:]
        small = self.prepared(pixels)
        batch = self._graphs(small, y)
        if small.shape == pixels.shape:
            return batch
        batch.image_size = torch.tensor([[height, width]]).expand(len(pixels), 2).contiguous()
        if self.seg:
            rows, columns = (
                torch.arange(length) * to // length
                for length, to in zip((height, width), small.shape[-2:], strict=True)
            )
            batch.seg = batch.seg.view(len(pixels), *small.shape[-2:])[:, rows][:, :, columns].flatten()
            batch._slice_dict["seg"] = torch.arange(len(pixels) + 1) * (height * width)
        return batch

    def prepared(self, pixels: Tensor) -> Tensor:
        """Images as the finder sees them: in its size, and relative to their ground.

        Args:
            pixels: uint8 ``[B, in_channels, H, W]``.
        """
        small = pixels if self.longer_side is None else resized(pixels, self.longer_side)
        return relative_to_ground(small) if self.relative else small

    def _graphs(self, pixels: Tensor, y: Tensor | None) -> Batch:
        plain = not (self.contours or self.detections)
        lattice = self._lattice(*pixels.shape[-2:]) if plain and pixels[0, 0].numel() <= LATTICE_PIXELS else None
        if lattice is not None:
            return restrict(lattice, *self.finder.measure(pixels), y)
        if plain and (found := self.finder.find_unrolled(pixels, self._vocabulary)) is not None:
            hierarchy, features, dag = found
            return assemble(hierarchy, features, dag, edge_attr=self.edge_attr, seg=self.seg, y=y)
        hierarchy, features = self.finder.find(pixels)
        schema = self._vocabulary.schema
        if self.contours:
            hierarchy = add_contours(hierarchy, pixels, schema)
        if self.detections:
            hierarchy, features = add_detections(hierarchy, features, pixels, schema)
        dag = unroll(hierarchy, self._vocabulary)
        # Relations are edges now. Of a large image they take much memory, which is given back before more is needed.
        hierarchy = replace(hierarchy, lateral=NO_RELATIONS, part_of=NO_RELATIONS)
        return assemble(hierarchy, features, dag, edge_attr=self.edge_attr, seg=self.seg, y=y)

    def _lattice(self, height: int, width: int) -> Lattice | None:
        return self._lattices.get(height, width)

    def __eq__(self, other: object) -> bool:
        return type(other) is type(self) and other.config == self.config

    def __hash__(self) -> int:
        # Not of ``repr``: 10 and 10.0 are equal.
        settings = (tuple(value) if isinstance(value, list) else value for value in self.config.values())
        return hash((type(self), *settings))

    def __repr__(self) -> str:
        arguments = ", ".join(f"{name}={value!r}" for name, value in self.config.items())
        return f"{type(self).__name__}({arguments})"


def _sizes_of_lattices(stacks: list[Tensor]) -> list[tuple[int, int] | None]:
    """For images of several sizes, the size of the lattice from which their graphs are cut, None for large ones.

    It is one for all, if that has at most ``SPARE`` times as many pixels as they have; else sides are powers of two.
    """
    height, width = (_rounded_up(max(stack.shape[dim] for stack in stacks)) for dim in (-2, -1))
    pixels, images = sum(stack[:, 0].numel() for stack in stacks), sum(len(stack) for stack in stacks)
    if height * width <= LATTICE_PIXELS and images * height * width <= SPARE * pixels:
        return [(height, width)] * len(stacks)
    sides = [[1 << (side - 1).bit_length() for side in stack.shape[-2:]] for stack in stacks]
    return [(down, across) if down * across <= LATTICE_PIXELS else None for down, across in sides]


def _rounded_up(side: int) -> int:
    """To one of four numbers between a power of two and the next, so that few lattices serve all sizes."""
    step = 1 << max(0, side.bit_length() - 3)
    return -(-side // step) * step
