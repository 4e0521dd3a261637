"""Graphs that promises are tried with: of digits and of noise, in every mode; and any that a vocabulary allows."""

from functools import cache

import torch
from torch import Generator, Tensor
from torch_geometric.data import Data

from grapheme_pyg.datasets import load_mnist5k
from grapheme_pyg.model import ImageClassificationModel
from grapheme_pyg.vision import ImageGraph, VisionBrain

MODES = ("grid", "blob", "superpixel", "hybrid")
NORMS = ("batch", "layer", None)


@cache
def digits() -> Tensor:
    return load_mnist5k().test.images


@cache
def make_model(mode: str, norm: str | None = "batch", dtype: torch.dtype = torch.float32) -> ImageClassificationModel:
    """A small model of random weights, whose running statistics have seen digits, in evaluation mode."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        vision = VisionBrain(mode, edge_attr=True)
        widths = [6, 8, 10, 12, 14][: max(vision.node_levels) + 1]
        model = ImageClassificationModel(vision, hidden_channels=widths, norm=norm, dropout=0.0)
        model(vision.batch(digits()[:32]))
    return model.to(dtype).eval()


def random_image(generator: Generator) -> Tensor:
    """A digit, or part of one, or an image of coloured blocks and noise such as photographs have, of any small size."""
    if _draw(2, generator):
        digit = digits()[_draw(len(digits()), generator)]
        return digit[: 8 + _draw(21, generator), : 8 + _draw(21, generator)]
    height, width = 8 + _draw(25, generator), 8 + _draw(25, generator)
    blocks = torch.randint(256, (3, 5, 5), generator=generator)
    image = blocks.repeat_interleave(7, 1).repeat_interleave(7, 2)[:, :height, :width]
    noise = torch.randint(-20, 21, (3, height, width), generator=generator)
    return (image + noise).clamp(0, 255).byte()


def random_graph(model: ImageClassificationModel, num_nodes: int, num_edges: int, generator: Generator) -> Data:
    """A graph that no image has: nodes of random types and levels, between which edges of random types rise.

    There are isolated nodes, edges that come several times and edges that skip levels. Fewer edges than asked for if
    the nodes that were drawn can be joined by none.
    """
    vocabulary = model.dag.vocabulary
    node_type = torch.randint(len(vocabulary.node_types), (num_nodes,), generator=generator)
    level = torch.randint(9, (num_nodes,), generator=generator) ** 2
    starts, ends = (torch.tensor(types)[:, None] == node_type for types in vocabulary.endpoints)
    # Edge type, source and target of all edges that there can be.
    kinds = (starts[:, :, None] & ends[:, None] & (level[:, None] < level)).nonzero()
    chosen = torch.randint(max(len(kinds), 1), (num_edges if len(kinds) else 0,), generator=generator)
    edge_type, *edges = kinds[chosen].t()
    return ImageGraph(
        x=torch.randn(num_nodes, model.vision.num_features, generator=generator),
        edge_index=torch.stack(edges),
        edge_type=edge_type.contiguous(),
        edge_attr=torch.randn(len(edge_type), 3, generator=generator),
        node_type=node_type,
        level=level,
    )


def _draw(bound: int, generator: Generator) -> int:
    return int(torch.randint(bound, (), generator=generator))
