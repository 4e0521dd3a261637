"""What graphs are must not depend on how their nodes are numbered, nor on the graphs that share their batch."""

import torch
from harness import Check, main
from made_graphs import MODES, NORMS, make_model, random_image
from torch import Generator, Tensor
from torch_geometric.data import Batch

from grapheme_pyg.testing import renumber

AT_ONCE = 8


@torch.no_grad()
def renumbered(number: int, tolerance: float, dtype: torch.dtype) -> dict[str, float]:
    """The largest difference between the logits of a graph and of the same graph in another order."""
    generator = Generator().manual_seed(number)
    model = make_model(MODES[number % 4], NORMS[number // 4 % 3], dtype)
    graph = model.vision(random_image(generator))
    return _within(model(renumber(graph, number)), model(graph), tolerance)


@torch.no_grad()
def batched(number: int, tolerance: float, dtype: torch.dtype) -> dict[str, float]:
    """The largest difference between the logits of graphs in one batch and of each alone."""
    generator = Generator().manual_seed(number)
    model = make_model(MODES[number % 4], NORMS[number // 4 % 3], dtype)
    graphs = [model.vision(random_image(generator)) for _ in range(AT_ONCE)]
    alone = torch.cat([model(graph) for graph in graphs])
    return _within(model(Batch.from_data_list(graphs)), alone, tolerance)


def _within(came: Tensor, expected: Tensor, tolerance: float) -> dict[str, float]:
    difference = float((came - expected).abs().max())
    # Not a number is not within either.
    if not difference <= tolerance:
        raise AssertionError(f"expected logits within {tolerance}, got a difference of {difference}")
    return {"difference": difference}


CHECKS = (
    Check(
        "renumbered_single",
        "200 graphs, nodes and edges in another order: the same logits within 1e-5 in float32",
        200,
        lambda number: renumbered(number, 1e-5, torch.float32),
    ),
    Check(
        "renumbered_double",
        "200 graphs, nodes and edges in another order: the same logits within 1e-9 in float64",
        200,
        lambda number: renumbered(number, 1e-9, torch.float64),
    ),
    Check(
        "batched_single",
        "1,000 graphs of mixed sizes, 8 in a batch: the logits of each alone within 1e-5 in float32",
        125,
        lambda number: batched(number, 1e-5, torch.float32),
    ),
    Check(
        "batched_double",
        "1,000 graphs of mixed sizes, 8 in a batch: the logits of each alone within 1e-12 in float64",
        125,
        lambda number: batched(number, 1e-12, torch.float64),
    ),
)

if __name__ == "__main__":
    raise SystemExit(main(CHECKS))
