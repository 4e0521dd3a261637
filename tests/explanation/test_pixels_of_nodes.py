"""What features got goes to the pixels that they were measured on."""

from typing import Any

import pytest
import torch
from torch import Tensor
from torch_geometric.data import Data

from grapheme_pyg import VisionBrain
from grapheme_pyg.explanation.pixels import measure, on_pixels, spread


def on(image: Tensor, node: int, feature: int, **options: Any) -> Tensor:
    """Where 1 of one feature goes; its value must not be 0."""
    brain = VisionBrain(**options)
    graph = brain(image)
    features = torch.zeros_like(graph.x)
    features[node, feature] = 1
    return on_pixels(features, graph, image.expand(brain.in_channels, -1, -1), brain).float()


# Two cells of 2×2 pixels, without contrast from one to the next.
IMAGE = torch.tensor([[10, 50, 0, 0], [100, 200, 0, 40]], dtype=torch.uint8)


def test_pixels_of_finest_cells() -> None:
    # Row by row: the third pixel of the first cell.
    assert on(IMAGE, 0, 2, margin=0).tolist() == [[0, 0, 0, 0], [1, 0, 0, 0]]
    # With a margin that repeats the border: the first feature is the first pixel too.
    assert on(IMAGE, 0, 0, margin=1).tolist() == [[1, 0, 0, 0], [0, 0, 0, 0]]
    # The second cell's window starts one pixel to the left of it, one above.
    assert on(IMAGE, 1, 8, margin=1).tolist() == [[0, 0, 0, 0], [0, 1, 0, 0]]


def test_pixels_of_coarse_cells() -> None:
    graph = VisionBrain(margin=0)(IMAGE)
    coarse = int((graph.level > graph.level[0] + 1).nonzero()[0])
    # Each adds its value to the mean of 400 / 8 = 50.
    torch.testing.assert_close(on(IMAGE, coarse, 0, margin=0), IMAGE / 400)
    # To the variance of 4275, p (p − 50) / 8.
    values = IMAGE.double()
    variance = values.square().mean() - 50**2
    torch.testing.assert_close(on(IMAGE, coarse, 1, margin=0), (values * (values - 50) / 8 / variance).float())


@pytest.mark.parametrize(
    ("options", "shape"),
    [
        ({}, (1, 13, 22)),
        ({"patch_size": 3, "margin": 0}, (1, 40, 41)),
        ({"in_channels": 3, "margin": 2, "rounds": (1, 2)}, (3, 9, 70)),
        ({}, (1, 300, 260)),
    ],
)
def test_measures_agree_with_the_brain(options: dict[str, Any], shape: tuple[int, ...]) -> None:
    image = torch.randint(256, shape, generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
    image[:, : shape[1] // 2, : shape[2] // 2] = 7
    brain = VisionBrain(**options)
    graph = brain(image)
    found = measure(image.double() / 255, graph, torch.ones(graph.num_nodes, dtype=torch.bool), brain)
    first = torch.tensor(brain.node_rounds)[graph.node_type] == 0
    torch.testing.assert_close(found[first].float(), graph.x[first])
    assert found[~first].abs().max() == 0


def test_entities_share_evenly_with_their_parts() -> None:
    # Nodes 0 and 1 are regions of one and of two pixels, node 2 the whole of both; node 3 is a point at pixel 3.
    brain = VisionBrain("superpixel")
    relations = [name for _, name, _ in brain.metadata[1]]
    up = next(i for i, name in enumerate(relations) if name.endswith("part_of"))
    graph = Data(
        edge_index=torch.tensor([[0, 1], [2, 2]]),
        edge_type=torch.tensor([up, up]),
        level=torch.tensor([0, 0, 1, 0]),
        pos=torch.tensor([[0.1, 0.5], [0.5, 0.5], [0.4, 0.5], [0.9, 0.5]]),
        seg=torch.tensor([0, 1, 1, -1]),
        image_size=torch.tensor([[1, 4]]),
    )
    found = spread(torch.tensor([1.0, 4.0, 6.0, 5.0]).double(), graph, brain)
    assert found.tolist() == [1 + 2, 2 + 2, 2 + 2, 5]
