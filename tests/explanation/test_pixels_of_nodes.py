"""What features got goes to the pixels that they were measured on."""

from typing import Any

import pytest
import torch
from torch import Tensor
from torch_geometric.data import Data

from grapheme_pyg import VisionBrain
from grapheme_pyg.explanation.pixels import on_pixels, spread
from grapheme_pyg.vision.grid import GridFinder


def on(image: Tensor, node: int, feature: int, **options: Any) -> Tensor:
    """Where 1 of one feature goes; its value must not be 0."""
    brain = VisionBrain(relative=False, **options)
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
    graph = VisionBrain(margin=0, relative=False)(IMAGE)
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
        ({}, (1, 9, 9)),
        ({"mode": "hybrid"}, (1, 33, 22)),
    ],
)
def test_measures_agree_with_the_brain(options: dict[str, Any], shape: tuple[int, ...]) -> None:
    image = torch.randint(256, shape, generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
    image[:, : shape[1] // 2, : shape[2] // 2] = 7
    brain = VisionBrain(**options)
    found = brain.finder.differentiable_features(image.double()[None])
    hierarchy, features = brain.finder.find(image[None])
    cells = torch.tensor([kind.differentiable for kind in brain.finder.schema().entity_types])[hierarchy.type]
    assert torch.equal(found.float(), features[cells, : found.shape[1]])


@pytest.mark.parametrize("options", [{}, {"patch_size": 3, "margin": 0}, {"in_channels": 3, "margin": 0}])
def test_slopes_of_measures(options: dict[str, Any]) -> None:
    finder = GridFinder(threshold=0, **options)
    pixels = torch.randint(1, 255, (1, finder.in_channels, 4, 5), generator=torch.Generator().manual_seed(0)).double()
    # Steps of less than one level change no pixel that is rounded down, and so no cell.
    pixels += 0.5
    assert torch.autograd.gradcheck(finder.differentiable_features, pixels.requires_grad_())


def test_the_spread_of_even_cells_has_no_slope() -> None:
    pixels = torch.full((1, 1, 4, 4), 7.0, dtype=torch.float64, requires_grad=True)
    ((mean, spread),) = GridFinder().differentiable_features(pixels)[:, :2].tolist()
    assert (mean, spread) == (7 / 255, 0)
    (slope,) = torch.autograd.grad(GridFinder().differentiable_features(pixels).sum(), pixels)
    torch.testing.assert_close(slope, torch.full_like(slope, 1 / 16 / 255))


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
