"""Threads that share a model: each gets what it would get alone, to the last bit, and the model stays as it is."""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import fields, is_dataclass
from functools import cache, partial
from threading import Barrier, current_thread, main_thread
from typing import Any
from unittest.mock import patch

import pytest
import torch
from cases import SEEDS, cases
from hypothesis import given
from made_graphs import MODES, random_image
from torch import Generator, Tensor
from torch_geometric.data import Data

from grapheme_pyg import ImageClassificationModel, VisionBrain, explain
from grapheme_pyg.vision import lattice_cache

THREADS = 8
Calls = Sequence[Callable[[], Any]]


@cache
def model_of(mode: str) -> ImageClassificationModel:
    """A model with weights of its own, statistics of batches that it has seen, and a calibrated memory."""
    generator = Generator().manual_seed(0)
    vision = VisionBrain(mode)
    model = ImageClassificationModel(vision, 4, hidden_channels=[8] * (max(vision.node_levels) + 1))
    images, labels = [random_image(generator) for _ in range(32)], torch.arange(32) % 4
    with torch.no_grad():
        model.train()(model.vision.batch(images))
    model.remember(images, labels)
    model.calibrate(images, labels)
    return model


def bits(value: Any) -> Any:
    """A result as plain values that can be compared; tensors as their bits."""
    if isinstance(value, Tensor):
        return value.dtype, value.shape, value.detach().contiguous().view(-1).view(torch.uint8).numpy().tobytes()
    if isinstance(value, Data):
        return bits(value.to_dict())
    if is_dataclass(value):
        return {field.name: bits(getattr(value, field.name)) for field in fields(value)}
    if isinstance(value, dict):
        return {name: bits(item) for name, item in value.items()}
    return [bits(item) for item in value] if isinstance(value, list | tuple) else value


def state_of(model: ImageClassificationModel) -> dict[str, Any]:
    """All that a call must leave as it was: weights, statistics, memory, modes, and PyTorch's random numbers."""
    modes = {f"mode of {name}": part.training for name, part in model.named_modules()}
    return bits(dict(model.state_dict())) | modes | {"random numbers": bits(torch.get_rng_state())}


def check(model: ImageClassificationModel, calls: Calls, intra_op: int = 1) -> None:
    """Calls one after the other, then all at once.

    Raises:
        AssertionError: A result differs, or the model was changed.
    """
    before = state_of(model)
    start = Barrier(len(calls))

    def together(function: Callable[[], Any]) -> Any:
        torch.set_num_threads(intra_op)
        start.wait(60)
        return bits(function())

    torch.set_num_threads(intra_op)
    alone = [bits(function()) for function in calls]
    with ThreadPoolExecutor(len(calls)) as pool:
        for thread, (one, other) in enumerate(zip(alone, pool.map(together, calls), strict=True)):
            assert one == other, f"thread {thread}: expected a result as alone, got another"
    after = state_of(model)
    changed = [name for name in before.keys() | after.keys() if before.get(name) != after.get(name)]
    assert not changed, f"expected a model that stays as it is, got changes of {sorted(changed)}"


def images_of(seed: int) -> list[Tensor]:
    generator = Generator().manual_seed(seed)
    return [random_image(generator) for _ in range(THREADS)]


@pytest.mark.parametrize("mode", ["grid", pytest.param("hybrid", marks=pytest.mark.slow)])
@cases(1)
@given(seed=SEEDS)
def test_predictions(mode: str, seed: int) -> None:
    """Each thread has images of a size of its own, or all have the same; the model may be in training mode."""
    model, images = model_of(mode).train(seed % 2 == 0), images_of(seed)
    chosen = [[images[0 if seed % 5 == 0 else i]] for i in range(THREADS)]
    calls = [partial(model.predict, chosen[i], views=1 + i // 7, reject=0.1) for i in range(THREADS)]
    check(model, calls, intra_op=1 + (seed % 20 == 0))


@pytest.mark.parametrize("method", ["gradient", pytest.param("integrated", marks=pytest.mark.slow)])
@cases(1)
@given(seed=SEEDS)
def test_explanations(method: str, seed: int) -> None:
    model = model_of(MODES[seed % 4]).train(seed % 2 == 0)
    check(model, [partial(explain, model, image[..., :16, :16], method, seed=0) for image in images_of(seed)])


@cases(2)
@given(seed=SEEDS)
def test_graphs_of_many_sizes(seed: int) -> None:
    """Of which few can be kept in mind."""
    model, images = model_of(MODES[seed % 4]), images_of(seed)
    with patch.object(lattice_cache, "CACHED_EDGES", 10_000):
        check(model, [partial(model.vision.batch, [image, images[0]]) for image in images])


def test_shared_scratch_is_noticed() -> None:
    # Each call leaves its number where the others leave theirs, waits for them, and takes what it finds.
    scratch, wait, model = [0], Barrier(THREADS), model_of("grid")
    images = images_of(1)

    def racy(i: int) -> Any:
        scratch[0] = i
        if current_thread() is not main_thread():
            wait.wait(20)
        return model.predict([images[scratch[0]]])

    with pytest.raises(AssertionError, match="as alone, got another"):
        check(model, [partial(racy, i) for i in range(THREADS)])


def test_a_changed_model_is_noticed() -> None:
    model = model_of("grid").eval()
    mean = next(norm.running_mean for norm in model.dag.norm.values())
    kept = mean.clone()
    with pytest.raises(AssertionError, match=r"expected a model that stays as it is, got changes of \['dag.norm"):
        check(model, [lambda: mean.add_(1e-3).sum() * 0])
    mean.copy_(kept)
