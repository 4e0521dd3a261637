"""VisionBrain converts images to directed acyclic graphs by signal processing."""

from dataclasses import asdict, replace
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch_geometric.data import Batch
from torch_geometric.transforms import BaseTransform
from torch_geometric.typing import EdgeType

from grapheme_pyg.labels import to_labels
from grapheme_pyg.vision.assemble import assemble
from grapheme_pyg.vision.canvas import CANVAS_PIXELS, by_canvas, on_canvas
from grapheme_pyg.vision.checks import check, is_int, plain
from grapheme_pyg.vision.contours import add_contours, with_contours
from grapheme_pyg.vision.detections import add_detections, with_detections
from grapheme_pyg.vision.finder import SETTINGS, make_finder
from grapheme_pyg.vision.ground import relative_to_ground
from grapheme_pyg.vision.hierarchy import NO_RELATIONS, Hierarchy, to_positions
from grapheme_pyg.vision.image_batches import to_pixel_batch, warn_if_dark
from grapheme_pyg.vision.image_graph import ImageGraph, together
from grapheme_pyg.vision.lattice import Lattice, restrict, restrict_sizes
from grapheme_pyg.vision.lattice_cache import LatticeCache
from grapheme_pyg.vision.pixels import resized, to_pixels
from grapheme_pyg.vision.unroll import Dag, Vocabulary, unroll

if TYPE_CHECKING:
    from grapheme_pyg.vision.pixels import Image, Images

# Largest value of `resize`; settings may come from a file and make small images huge.
LARGEST_RESIZE = 4096


class VisionBrain(BaseTransform):
    r"""Converts each image to its own directed acyclic graph, without learned parameters.

    A finder finds entities, level by level, fine to coarse, and relations between them. A node stands for an entity in
    a round of computation. Edges run from entities to their neighbours in the next round, and from the last round of a
    part to the first round of its whole. The type of an edge is its relation, such as ``north_east_of``, between two
    node types. Entities depend on the mode:

    - ``"grid"``: cells of pixels that have contrast, and coarser cells above them. The graph of an image is the
      subgraph that its active cells induce in the lattice of all cells; a coarse cell is active if a part of it is. An
      image without any active cell becomes one node.
      Options: :class:`grapheme_pyg.vision.grid.GridFinder`.
    - ``"blob"``: strokes between the ends and junctions of a drawing's skeleton, which are parts of blobs: light and
      dark connected components.
      Options: :class:`grapheme_pyg.vision.blob.BlobFinder`.
    - ``"superpixel"``: SLIC regions, and the regions into which they merge.
      Options: :class:`grapheme_pyg.vision.superpixel.SuperpixelFinder`.
    - ``"hybrid"``: the grid and the blobs of an image; each cell is part of the smallest blob that contains its centre.
      Options: those of both, without strokes.

    Two brains are equal, and have the same hash, if they have the same type and settings.

    Attributes:
        finder: The finder of the mode.
        node_features: For each node type, the number of leading columns of ``x`` that it uses; the others are zero.
        node_kinds: For each node type, the number of its entity type.
        node_levels: For each node type, its configured level of the hierarchy, 0 the finest.
        node_rounds: For each node type, its round of computation, 0 the first.
        num_features: Width of ``x``.

    Args:
        mode: A mode as above, or one that was registered by :func:`grapheme_pyg.vision.register_finder`.
        in_channels: 1 (colour images become ITU-R 601 luma) or 3 (grey images are repeated).
        edge_attr: Whether graphs have ``edge_attr``, the offsets from target to source. If None, the mode's default:
            yes, unless edge types determine the offsets, as in the grid.
        seg: Whether graphs have ``seg``, the map from pixels to the nodes of the finest entities.
        resize: Longer side in pixels, at most 4096, to which each image is first resized proportionally; None for no
            resizing. With ``"training"``, :func:`grapheme_pyg.fit` sets it to the size of the training images if they
            have one size, so that a model also accepts other resolutions; until then images are not resized. Images are
            never enlarged both to more than 256 pixels and more than 8 times; smaller ones are refused.
        relative: Whether grey images are normalised by :func:`grapheme_pyg.vision.ground.relative_to_ground`, so that
            polarity, brightness and contrast hardly matter. If None, only if ``in_channels`` is 1.
        white: Level of white in 16-bit PIL images, in 1…65535; determined for each image if None. A model whose
            training images share one scale should set it.
        contours: Whether finest entities that one contour crosses are related.
        detections: Whether edges and corners are entities, too, inside the others.
        options: Options of the mode.

    Shapes:
        - **image**: see :meth:`forward`
        - **output**: :class:`ImageGraph`

    Raises:
        ValueError: An argument is out of range, or is not an option of the mode.

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
        size = resize if is_int(resize, 1) else None
        valid = resize in (None, "training") or (size is not None and size <= LARGEST_RESIZE)
        check("resize", resize, valid, f"an integer in 1…{LARGEST_RESIZE}, 'training' or None")
        self.finder = make_finder(mode, in_channels, options, size)
        if edge_attr is None:
            edge_attr = not self.finder.single_neighbours
        if relative is None:
            relative = in_channels == 1
        switches = {"edge_attr": edge_attr, "seg": seg, "contours": contours, "detections": detections}
        for name, value in (switches | {"relative": relative}).items():
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
        """The constructor's arguments as JSON types."""
        settings = {name: getattr(self, name) for name in SETTINGS} | asdict(self.finder)
        return {name: list(value) if isinstance(value, tuple) else value for name, value in settings.items()}

    @property
    def longer_side(self) -> int | None:
        """Longer side in pixels to which images are resized; None if they are not resized."""
        return self.resize if isinstance(self.resize, int) else None

    def for_images_of(self, height: int, width: int) -> "VisionBrain":
        """Returns the brain for training on images of one size, which sets ``resize`` if it is ``"training"``."""
        if self.resize != "training":
            return self
        return type(self)(**self.config | {"resize": min(max(height, width), LARGEST_RESIZE)})

    @property
    def metadata(self) -> tuple[list[str], list[EdgeType]]:
        """Names of node types and triples of edge types, as in PyG's ``HeteroData.metadata()``.

        They depend only on the configuration.
        """
        return list(self._vocabulary.node_types), list(self._vocabulary.edge_types)

    def generations(self, size: int) -> list[tuple[int, int]]:
        """Returns level and node type of all groups of nodes that graphs can have, in the order of computation.

        Args:
            size: Largest side of the images in pixels; larger images can have more levels.
        """
        size = self.longer_side or size
        num_levels = max(self._vocabulary.num_levels, self.finder.count_levels(size, size))
        return self._vocabulary.generations(num_levels)

    def __call__(self, image: Any) -> ImageGraph:
        """Calls :meth:`forward`; the base class would first copy the image by pickling, which not all types support."""
        return self.forward(image)

    def forward(self, image: "Image") -> ImageGraph:
        """Makes the graph of one image.

        Args:
            image: A PIL image of any mode, an array ``[H, W]`` or ``[H, W, C]``, or a tensor ``[H, W]`` or
                ``[C, H, W]`` with C = 1 or 3; uint8, float in [0, 1], or bool. A very dark image causes a warning.

        Returns:
            The graph, which is the same, bit for bit, alone and in a batch.

        Raises:
            ImageError: The image is empty, has another shape or dtype, is not finite or not in [0, 1]; its file is
                broken or too large; or it is too small for ``resize``.
        """
        pixels = to_pixels(image, self.in_channels, white=self.white)[None]
        warn_if_dark([pixels], relative=self.relative)
        graph: ImageGraph = self._build(pixels)[0]
        return graph

    def batch(self, images: "Images", y: Any = None) -> Batch:
        """Makes the graphs of many images, vectorised over images of one size.

        Args:
            images: A tensor ``[N, H, W]`` or ``[N, C, H, W]``, an array ``[N, H, W]`` or ``[N, H, W, C]``, or a
                sequence of images of any sizes, as in :meth:`forward`. An ambiguous shape, which could mean one colour
                image or several grey ones, is refused unless ``y`` determines the number of images.
            y: Classes, ``[N]``, as in :func:`grapheme_pyg.labels.to_labels`.

        Returns:
            The batch ``Batch.from_data_list([brain(image) for image in images])``.

        Raises:
            ImageError: As :meth:`forward`; the message names the position of the image.
            ValueError: There are no images, or the number of classes differs.
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
        """Makes the graphs of images of several sizes; ``places`` are the places of each stack's images in the batch.

        Images of similar sizes share canvases and a lattice, which saves time.
        """
        small = [self._resized(stack) for stack in stacks]
        batches, positions = [], []
        for (_, *size), some in by_canvas(small).items():
            at = torch.cat([places[i] for i in some])
            order = at.argsort()
            batch = self._graphs_within(size, [small[i] for i in some], order, None if y is None else y[at[order]])
            if batch is None:
                batches += [self._build(stacks[i], None if y is None else y[places[i]]) for i in some]
                positions += [places[i] for i in some]
                continue
            whole = torch.tensor([stacks[i].shape[-2:] for i in some])
            batch.image_size = whole.repeat_interleave(torch.tensor([len(stacks[i]) for i in some]), dim=0)[order]
            batches.append(batch)
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
        """Resizes and normalises images, as the finder sees them.

        Args:
            pixels: uint8 ``[B, in_channels, H, W]``.
        """
        small = self._resized(pixels)
        return relative_to_ground(small) if self.relative else small

    def _resized(self, pixels: Tensor) -> Tensor:
        return pixels if self.longer_side is None else resized(pixels, self.longer_side)

    def _graphs_within(self, size: list[int], stacks: list[Tensor], order: Tensor, y: Tensor | None) -> Batch | None:
        """Makes the graphs of images of several sizes in the lattice of larger ones; None if that is not possible."""
        lattice = None if self.edge_attr or self.seg else self._lattice(*size)
        if lattice is None:
            return None
        pixels, sizes = (values[order] for values in on_canvas(stacks, size))
        measured = self.finder.measure_within(relative_to_ground(pixels, sizes) if self.relative else pixels, sizes)
        if measured is None:
            return None
        present, features, centre, num_levels = measured
        # Nodes are sorted by level; the last one stands for an image of the largest size.
        stages = torch.tensor(self._vocabulary.first_stages(int(num_levels.max())))
        alone = torch.searchsorted(lattice.level[:-1], stages[num_levels - 1])
        return restrict_sizes(lattice, present, features, to_positions(centre, sizes[:, None]), alone, sizes, y)

    def _lattice(self, height: int, width: int) -> Lattice | None:
        """Returns the lattice of small images, of which graphs without extras are subgraphs; None if there is none."""
        if self.contours or self.detections or height * width > CANVAS_PIXELS:
            return None
        return self._lattices.get(height, width)

    def _graphs(self, pixels: Tensor, y: Tensor | None) -> Batch:
        lattice = self._lattice(*pixels.shape[-2:])
        if lattice is not None:
            return restrict(lattice, *self.finder.measure(pixels), y)
        extras = self.contours or self.detections
        found = None if extras else self.finder.find_unrolled(pixels, self._vocabulary)
        hierarchy, features, dag = self._find_unrolled(pixels) if found is None else found
        return assemble(hierarchy, features, dag, edge_attr=self.edge_attr, seg=self.seg, y=y)

    def _find_unrolled(self, pixels: Tensor) -> tuple[Hierarchy, Tensor, Dag]:
        """Finds entities, without their relations, and their features and unrolled graph."""
        hierarchy, features = self.finder.find(pixels)
        schema = self._vocabulary.schema
        if self.contours:
            hierarchy = add_contours(hierarchy, pixels, schema)
        if self.detections:
            hierarchy, features = add_detections(hierarchy, features, pixels, schema)
        dag = unroll(hierarchy, self._vocabulary)
        # Relations are edges now, and take much memory for a large image.
        return replace(hierarchy, lateral=NO_RELATIONS, part_of=NO_RELATIONS), features, dag

    def __eq__(self, other: object) -> bool:
        return type(other) is type(self) and other.config == self.config

    def __hash__(self) -> int:
        # `repr` would differ for 10 and 10.0, which are equal.
        settings = (tuple(value) if isinstance(value, list) else value for value in self.config.values())
        return hash((type(self), *settings))

    def __repr__(self) -> str:
        arguments = ", ".join(f"{name}={value!r}" for name, value in self.config.items())
        return f"{type(self).__name__}({arguments})"
