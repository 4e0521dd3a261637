import pytest
import torch

from grapheme_pyg.vision import VisionBrain
from grapheme_pyg.vision.image_graph import to_graphs


@pytest.mark.parametrize("mode", ["grid", "blob"])
def test_a_batch_is_taken_apart_as_pyg_does(mode: str) -> None:
    # Of one size, and of several; one image without any contrast.
    brain = VisionBrain(mode, edge_attr=True, seg=True)
    same = torch.randint(256, (4, 12, 9), dtype=torch.uint8)
    same[2] = 50
    for images in (same, [same[0], same[1, :7], same[2]]):
        batch = brain.batch(images, list(range(len(images))))
        for mine, theirs in zip(to_graphs(batch), batch.to_data_list(), strict=True):
            assert type(mine) is type(theirs)
            assert set(mine.keys()) == set(theirs.keys())
            assert all(torch.equal(mine[key], theirs[key]) for key in theirs.keys())  # noqa: SIM118
