import threading

import pytest
import torch

from grapheme_pyg import ImageClassificationModel, VisionBrain, explain
from grapheme_pyg.explanation import Explanation


@pytest.mark.parametrize("method", ["gradient", pytest.param("gnnexplainer", marks=pytest.mark.slow)])
def test_explanations_from_threads_are_those_of_one(method: str) -> None:
    model = ImageClassificationModel(VisionBrain(), hidden_channels=(4, 6, 8)).train()
    images = [torch.eye(4 + i) for i in range(2)]
    expected = [explain(model, image, method, seed=i) for i, image in enumerate(images)]
    state, random = {name: str(value) for name, value in model.state_dict().items()}, torch.get_rng_state()
    found: dict[int, Explanation] = {}
    start = threading.Barrier(len(images))

    def run(i: int) -> None:
        torch.set_num_threads(1)
        start.wait(10)
        found[i] = explain(model, images[i], method, seed=i)

    threads = [threading.Thread(target=run, args=(i,)) for i in range(len(images))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    for i, one in enumerate(expected):
        assert found[i].label == one.label
        for field in ("edges", "nodes", "pixels"):
            assert torch.equal(getattr(found[i], field), getattr(one, field)), (i, field)
    assert {name: str(value) for name, value in model.state_dict().items()} == state
    assert torch.equal(torch.get_rng_state(), random)
    assert model.training
