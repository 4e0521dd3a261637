"""Corruptions of images and of graphs at five severities each, for `robustness.py`.

The idea, and most of the kinds, are those of MNIST-C (Mu and Gilmer, "MNIST-C: A Robustness Benchmark for Computer
Vision", 2019); the code and the severities are our own, so figures are not comparable with those published for it.

Each is a function of (images, severity, seed) alone. Severities share their random draws, so that what is hit at a
lower one is hit at every higher one; and an image's corruption does not depend on the images after it.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
import torch.nn.functional as F
from scipy import ndimage
from torch import Generator, Tensor
from torch_geometric.data import Batch

from grapheme_pyg import VisionBrain
from grapheme_pyg.dag import sinks

PROBABILITIES = (0.1, 0.2, 0.3, 0.5, 0.7)
# Side of the squares that "patches dropped" sets to background: that of the grid's finest cells by default.
PATCH = 2
# A stroke's width is changed on an image that is finer by this factor, as a pixel of 28 is a third of a stroke.
FINER = 4


@dataclass(frozen=True)
class Corruption:
    """One way to spoil images, in several degrees.

    Attributes:
        name: What is done.
        unit: Of the severity.
        severities: From mild to severe.
        apply: Images as float32 ``[N, H, W]`` in 0…255, severity, generator → images, not yet rounded or clipped.
        neutral: The severity that changes nothing, if there is one.
    """

    name: str
    unit: str
    severities: tuple[float, ...]
    apply: Callable[[Tensor, float, Generator], Tensor]
    neutral: float | None = None

    def __call__(self, images: Tensor, severity: float, seed: int = 0) -> Tensor:
        """Corrupts images; the result is uint8 of the same shape.

        Args:
            images: uint8 ``[N, H, W]``, light ink on a background of 0.
            severity: One of ``severities``, or another number of that unit.
            seed: Of whatever is random in it.

        Raises:
            ValueError: The images are not as above.
        """
        if images.dtype != torch.uint8 or images.dim() != 3:
            came = f"{images.dtype} of shape {list(images.shape)}"
            raise ValueError(f"images: expected torch.uint8 of shape [N, H, W], got {came}")
        out = self.apply(images.float(), severity, torch.Generator().manual_seed(seed))
        return out.round().clamp(0, 255).to(torch.uint8)


def gaussian_noise(images: Tensor, sigma: float, generator: Generator) -> Tensor:
    """Adds noise of a standard deviation in levels of 0…255."""
    return images + sigma * torch.randn(images.shape, generator=generator)


def shot_noise(images: Tensor, photons: float, generator: Generator) -> Tensor:
    """Counts photons, of which white has so many in the mean; the background, which has none, stays clean."""
    return torch.poisson(images * (photons / 255), generator=generator) * (255 / photons)


def impulse_noise(images: Tensor, p: float, generator: Generator) -> Tensor:
    """Makes pixels black or white, each as likely, with probability p."""
    hit, value = torch.rand(images.shape[0], 2, *images.shape[1:], generator=generator).unbind(1)
    return torch.where(hit < p, 255 * value.round(), images)


def gaussian_blur(images: Tensor, sigma: float, _: Generator) -> Tensor:
    """Blurs by a standard deviation in pixels."""
    return torch.from_numpy(ndimage.gaussian_filter(images.numpy(), sigma=(0, sigma, sigma), mode="constant"))


def patches_dropped(images: Tensor, p: float, generator: Generator) -> Tensor:
    """Sets squares of the pixel grid to background with probability p.

    To a network of cells this is not what dropping their nodes is: next to ink a blank cell has contrast within its
    margin, and so it is there, and says that it is blank.
    """
    rows, columns = (-(-size // PATCH) for size in images.shape[1:])
    kept = (torch.rand(len(images), rows, columns, generator=generator) >= p).float()
    pixels = kept.repeat_interleave(PATCH, 1).repeat_interleave(PATCH, 2)
    return images * pixels[:, : images.shape[1], : images.shape[2]]


def shift(images: Tensor, pixels: float, generator: Generator) -> Tensor:
    """Moves each image in one of eight directions, by so many pixels along one axis or along both."""
    directions = torch.tensor([(x, y) for y in (-1, 0, 1) for x in (-1, 0, 1) if (x, y) != (0, 0)])
    chosen = directions[torch.randint(8, (len(images),), generator=generator)]
    size = torch.tensor([images.shape[2], images.shape[1]])
    # An output pixel's value comes from where it was before.
    offset = -2 * pixels * chosen / size
    return _warp(images, torch.cat([torch.eye(2).expand(len(images), 2, 2), offset[:, :, None]], dim=2))


def scale(images: Tensor, factor: float, _: Generator) -> Tensor:
    """Makes the content larger (factor above 1) or smaller (below) around the image's centre."""
    return _warp(images, torch.eye(2, 3).div(factor).expand(len(images), 2, 3))


def rotation(images: Tensor, degrees: float, generator: Generator) -> Tensor:
    """Rotates square images around their centres, half of them to each side."""
    angle = math.radians(degrees) * (2 * torch.randint(2, (len(images),), generator=generator) - 1)
    cos, sin, zero = angle.cos(), angle.sin(), torch.zeros(len(images))
    return _warp(images, torch.stack([cos, -sin, zero, sin, cos, zero], dim=1).view(-1, 2, 3))


def stroke(images: Tensor, pixels: float, _: Generator, *, thicker: bool) -> Tensor:
    """Moves the edge of strokes outwards or inwards by so many pixels: grey dilation or erosion with a disc.

    On a finer image, as Morpho-MNIST does it (Castro et al., 2019), but of square pixels and not interpolated, so that
    0 pixels change nothing.
    """
    radius = round(pixels * FINER)
    reach = np.arange(-radius, radius + 1)
    disc = reach[:, None] ** 2 + reach**2 <= radius**2
    fine = images.to(torch.uint8).repeat_interleave(FINER, 1).repeat_interleave(FINER, 2).numpy()
    change = ndimage.grey_dilation if thicker else ndimage.grey_erosion
    changed = torch.from_numpy(change(fine, footprint=disc[None], mode="constant", cval=0)).float()
    return F.avg_pool2d(changed[:, None], FINER).squeeze(1)


def contrast(images: Tensor, kept: float, _: Generator) -> Tensor:
    """Keeps a share of the contrast with the black background."""
    return kept * images


def inversion(images: Tensor, kept: float, _: Generator) -> Tensor:
    """Dark ink on white, with a share of the contrast; all of it is 255 − x."""
    return 255 - kept * images


def _warp(images: Tensor, maps: Tensor) -> Tensor:
    """Bilinear; maps ``[N, 2, 3]`` from output to input, in units of half the image; 0 beyond the border."""
    grid = F.affine_grid(maps, [len(images), 1, *images.shape[1:]], align_corners=False)
    return F.grid_sample(images[:, None], grid, align_corners=False).squeeze(1)


CORRUPTIONS = (
    Corruption("Gaussian noise", "standard deviation, levels of 255", (16, 32, 64, 96, 128), gaussian_noise, 0),
    Corruption("shot noise", "photons at white", (30, 10, 5, 2, 1), shot_noise),
    Corruption("impulse noise", "probability", (0.02, 0.05, 0.1, 0.2, 0.3), impulse_noise, 0),
    Corruption("blur", "standard deviation, pixels", (0.5, 1, 1.5, 2, 2.5), gaussian_blur, 0),
    Corruption("patches dropped", "probability", PROBABILITIES, patches_dropped, 0),
    Corruption("shift", "pixels", (1, 2, 3, 4, 6), shift, 0),
    Corruption("smaller", "factor", (0.9, 0.8, 0.7, 0.6, 0.5), scale, 1),
    Corruption("larger", "factor", (1.1, 1.2, 1.3, 1.4, 1.6), scale, 1),
    Corruption("rotation", "degrees", (10, 20, 30, 45, 60), rotation, 0),
    Corruption("thicker strokes", "pixels", (0.25, 0.5, 0.75, 1, 1.5), partial(stroke, thicker=True), 0),
    Corruption("thinner strokes", "pixels", (0.25, 0.5, 0.75, 1, 1.25), partial(stroke, thicker=False), 0),
    Corruption("low contrast", "share kept", (0.75, 0.5, 0.3, 0.2, 0.1), contrast, 1),
    Corruption("inversion", "contrast kept", (1, 0.75, 0.5, 0.3, 0.2), inversion),
)


def drop_nodes(batch: Batch, p: float, vision: VisionBrain, generator: Generator | None = None) -> Batch:
    """Drops cells of the finest level with probability p, each with the nodes of all its rounds.

    What is left is the induced subgraph. Coarser cells stay, with their features, even where no finer cell is left
    that is part of them, so that p = 1 leaves what coarse cells alone can tell. A cell goes with all its rounds, and
    thus nothing that stays loses its last outgoing edge: no node becomes a sink.

    Args:
        batch: Graphs that ``vision`` made.
        p: Probability; ValueError if it is none.
        vision: Says which node types are the finest level's.
        generator: Of the draw, one number for each cell; PyTorch's own if None.
    """
    _check_probability(p)
    finest = torch.tensor([level == 0 for level in vision.node_levels])[batch.node_type]
    # A graph's nodes are sorted by level, then cell: each round of the finest level has the same cells in order.
    cells = torch.bincount(batch.batch[finest & (batch.level == 0)], minlength=batch.num_graphs)
    graph = batch.batch[finest]
    place = (finest.nonzero().squeeze(1) - batch.ptr[graph]) % cells[graph]
    stays = torch.rand(int(cells.sum()), generator=generator) >= p
    nodes = ~finest
    nodes[finest] = stays[(cells.cumsum(0) - cells)[graph] + place]
    return _subgraph(batch, nodes, torch.ones(batch.num_edges, dtype=torch.bool))


def drop_edges(batch: Batch, p: float, generator: Generator | None = None, *, read: Tensor | None = None) -> Batch:
    """Removes edges with probability p, and then whatever nobody hears any more.

    A node that has lost all its outgoing edges would be a sink and enter the readout, next to states of another kind
    that were trained for it. So nodes from which no path leads to a node that is read out of the original graph go
    too, with their edges. Nobody reads them: the result is that of the nodes that were read, in the graph with just
    the drawn edges removed. Those stay, with or without edges into them; p = 1 leaves them alone, with their features.

    Args:
        batch: Graphs.
        p: Probability; ValueError if it is none.
        generator: Of the draw, one number for each edge; PyTorch's own if None.
        read: ``[num_read]`` int64, the nodes that a model reads out; the sinks if None.
    """
    _check_probability(p)
    num_nodes = int(batch.num_nodes or 0)
    edges = torch.rand(batch.num_edges, generator=generator) >= p
    source, target = batch.edge_index[:, edges]
    heard = torch.zeros(num_nodes, dtype=torch.bool)
    heard[sinks(batch.edge_index, num_nodes) if read is None else read] = True
    while not bool(heard[source[heard[target]]].all()):
        heard[source[heard[target]]] = True
    return _subgraph(batch, heard, edges)


def _check_probability(p: float) -> None:
    if not 0 <= p <= 1:
        raise ValueError(f"p: expected a probability in [0, 1], got {p}")


def _subgraph(batch: Batch, nodes: Tensor, edges: Tensor) -> Batch:
    """The marked nodes and those marked edges that run between them, as the batch of the smaller graphs."""
    edges = edges & nodes[batch.edge_index].all(dim=0)
    edge_graph = batch.batch[batch.edge_index[0]]
    number = nodes.cumsum(0) - 1
    ptr, edge_ptr = (
        F.pad(torch.bincount(graph, minlength=batch.num_graphs).cumsum(0), (1, 0))
        for graph in (batch.batch[nodes], edge_graph[edges])
    )
    out = batch.clone()
    # Copies of their own: a clone shares them with the original.
    out._slice_dict, out._inc_dict = dict(batch._slice_dict), dict(batch._inc_dict)
    for name in batch._slice_dict:
        if batch.is_node_attr(name):
            out[name], out._slice_dict[name] = batch[name][nodes], ptr
        elif name != "edge_index" and batch.is_edge_attr(name):
            out[name], out._slice_dict[name] = batch[name][edges], edge_ptr
    out.edge_index, out.batch, out.ptr = number[batch.edge_index[:, edges]], batch.batch[nodes], ptr
    out._slice_dict["edge_index"], out._inc_dict["edge_index"] = edge_ptr, ptr[:-1]
    if "seg" in batch:  # numbers of nodes within each graph, −1 where there is none
        seg = batch.seg.view(batch.num_graphs, -1)
        node = seg.clamp(min=0) + batch.ptr[:-1, None]
        out.seg = torch.where((seg >= 0) & nodes[node], number[node] - ptr[:-1, None], -1).flatten()
    return out
