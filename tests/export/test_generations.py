"""The generations that a brain announces are those that its graphs have."""

import pytest
import torch

from grapheme_pyg.vision import VisionBrain

BRAINS = {
    "grid": VisionBrain(),
    "grid of two levels": VisionBrain(rounds=(1, 2)),
    "grid without more levels": VisionBrain(extend=False),
    "resized": VisionBrain(resize=32),
    "blob": VisionBrain("blob"),
    "superpixel": VisionBrain("superpixel"),
    "hybrid": VisionBrain("hybrid"),
    "detections": VisionBrain("hybrid", contours=True, detections=True),
}


def generations_of(brain: VisionBrain, *sizes: tuple[int, int]) -> set[tuple[int, int]]:
    images = [(torch.rand(size) < 0.3).to(torch.uint8) * 255 for size in sizes]
    batch = brain.batch([*images, torch.zeros(sizes[0], dtype=torch.uint8)])
    return set(zip(batch.level.tolist(), batch.node_type.tolist(), strict=True))


@pytest.mark.parametrize("name", BRAINS)
def test_graphs_have_no_others(name: str) -> None:
    found = generations_of(BRAINS[name], (64, 64), (28, 28), (20, 24), (5, 60), (1, 1))
    assert found <= set(BRAINS[name].generations(64))


@pytest.mark.parametrize("name", ["grid", "grid of two levels", "resized"])
def test_grids_have_all(name: str) -> None:
    assert generations_of(BRAINS[name], (64, 64)) == set(BRAINS[name].generations(64))


def test_by_hand() -> None:
    # 16, 8 and 4 cells a side, of which the last two levels share node types 1 and 2.
    assert VisionBrain(rounds=(1, 2)).generations(32) == [(0, 0), (1, 1), (2, 2), (3, 1), (4, 2)]
    assert VisionBrain(rounds=(1, 2)).generations(16) == [(0, 0), (1, 1), (2, 2)]
    assert VisionBrain(rounds=(1, 2), resize=16).generations(500) == [(0, 0), (1, 1), (2, 2)]
