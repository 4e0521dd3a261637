"""Threads that share a model: each gets what it would get alone, to the last bit, and the model stays as it is."""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, fields
from functools import cache, partial
from threading import Barrier
from typing import Any
from unittest.mock import patch

import torch
from harness import Check, main
from torch import Generator, Tensor
from torch_geometric.data import Data

from grapheme_pyg import ImageClassificationModel, Prediction, VisionBrain, explain
from grapheme_pyg.explanation import Explanation
from grapheme_pyg.vision import lattice_cache

THREADS = 8
MODES = ("grid", "blob", "superpixel", "hybrid")
# Of a cache of lattices that few image sizes fill.
FEW_EDGES = 10_000


@dataclass(frozen=True)
class Calls:
    """What threads call at the same time, one call each, and the model that they share."""

    model: ImageClassificationModel
    calls: Sequence[Callable[[], Any]]
    intra_op: int


def images_of(generator: Generator, count: int, size: tuple[int, int]) -> Tensor:
    """Dark images with a few light rectangles, uint8 ``[count, *size]``."""
    images = torch.randint(30, (count, *size), dtype=torch.uint8, generator=generator)
    for image in images:
        for _ in range(3):
            (top, left), (height, width) = torch.rand(2, 2, generator=generator).tolist()
            rows, columns = (
                slice(int(s * n), int(s * n + n / 5 + e * n / 3))
                for s, e, n in zip((top, left), (height, width), size, strict=True)
            )
            image[rows, columns] = int(torch.randint(120, 256, (), generator=generator))
    return images


def size_of(generator: Generator, least: int, most: int) -> tuple[int, int]:
    height, width = torch.randint(least, most, (2,), generator=generator).tolist()
    return height, width


@cache
def model_of(mode: str) -> ImageClassificationModel:
    """A model with weights of its own, statistics of batches that it has seen, and a calibrated memory."""
    generator = Generator().manual_seed(0)
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(0)
        vision = VisionBrain(mode)
        model = ImageClassificationModel(vision, 4, hidden_channels=[8] * (max(vision.node_levels) + 1))
    images, labels = images_of(generator, 32, (28, 28)), torch.arange(32) % 4
    with torch.no_grad():
        model.train()(model.vision.batch(images))
    model.remember(images, labels)
    model.calibrate(images, labels)
    return model


def contents(result: Any) -> dict[str, Any]:
    """Fields by name; tensors as their bits."""
    if isinstance(result, Prediction):
        values = result._asdict()
    elif isinstance(result, Explanation):
        values = {field.name: getattr(result, field.name) for field in fields(result)}
    else:
        values = result.to_dict()
    return {name: bits(contents(value) if isinstance(value, Data) else value) for name, value in values.items()}


def bits(value: Any) -> Any:
    if not isinstance(value, Tensor):
        return value
    return value.dtype, value.shape, value.detach().contiguous().view(-1).view(torch.uint8).numpy().tobytes()


def state_of(model: ImageClassificationModel) -> dict[str, Any]:
    """All that a call must leave as it was: weights, statistics, memory, modes, and PyTorch's random numbers."""
    state = {name: bits(value) for name, value in model.state_dict().items()}
    modes = {f"mode of {name}": part.training for name, part in model.named_modules()}
    return state | modes | {"random numbers": bits(torch.get_rng_state())}


def compare(task: Calls) -> dict[str, float]:
    """Calls one after the other, then all at once.

    Raises:
        AssertionError: A result differs, or the model was changed.
    """
    before, threads = state_of(task.model), torch.get_num_threads()
    start = Barrier(len(task.calls))

    def call(function: Callable[[], Any]) -> Any:
        torch.set_num_threads(task.intra_op)
        start.wait(60)
        return function()

    try:
        torch.set_num_threads(task.intra_op)
        alone = [contents(function()) for function in task.calls]
        with ThreadPoolExecutor(len(task.calls)) as pool:
            together = [contents(result) for result in pool.map(call, task.calls)]
    finally:
        torch.set_num_threads(threads)
    for thread, (one, other) in enumerate(zip(alone, together, strict=True)):
        differing = [name for name in one.keys() | other.keys() if one.get(name) != other.get(name)]
        assert not differing, f"thread {thread}: expected {sorted(differing)} as alone, got others"
    after = state_of(task.model)
    changed = [name for name in before.keys() | after.keys() if before.get(name) != after.get(name)]
    assert not changed, f"expected a model that stays as it is, got changes of {sorted(changed)}"
    return {"threads": len(task.calls)}


def predictions(mode: str, number: int) -> Calls:
    """Each thread has a few images of a size of its own, or all have the same; the model may be in training mode."""
    generator, model = Generator().manual_seed(number), model_of(mode).train(number % 2 == 0)
    same = number % 5 == 0
    sets = [images_of(generator, 1 + i % 2, size_of(generator, 8, 29)) for i in range(THREADS)]
    calls = [partial(model.predict, sets[0 if same else i], views=1 + i // 7, reject=0.1) for i in range(THREADS)]
    return Calls(model, calls, intra_op=2 if number % 50 == 0 else 1)


def explanations(number: int) -> Calls:
    generator, mode = Generator().manual_seed(number), MODES[number % len(MODES)]
    model = model_of(mode).train(number % 2 == 0)
    method = "gnnexplainer" if number % 50 == 48 else "integrated" if number % 10 == 5 else "gradient"
    image = images_of(generator, THREADS, size_of(generator, 8, 17))
    calls = [partial(explain, model, image[i], method, seed=i) for i in range(THREADS)]
    return Calls(model, calls, intra_op=1)


def batches(number: int) -> Calls:
    """Graphs of images of many sizes, of which few can be kept in mind."""
    generator, mode = Generator().manual_seed(number), MODES[number % len(MODES)]
    model = model_of(mode)
    sets = [[*(images_of(generator, 1, size_of(generator, 6, 29))[0] for _ in range(4))] for _ in range(THREADS)]
    return Calls(model, [partial(model.vision.batch, images) for images in sets], intra_op=1)


def compare_batches(number: int) -> dict[str, float]:
    with patch.object(lattice_cache, "CACHED_EDGES", FEW_EDGES):
        return compare(batches(number))


SAME = "give in 8 threads at once what they give alone, bit for bit, and leave the model as it is"
CHECKS = (
    Check("threads_grid", f"predictions on grids {SAME}", 1000, lambda n: compare(predictions("grid", n))),
    Check("threads_hybrid", f"predictions on hybrids {SAME}", 1000, lambda n: compare(predictions("hybrid", n))),
    Check("threads_explain", f"explanations {SAME}", 100, lambda n: compare(explanations(n))),
    Check("threads_batch", f"graphs of images of many sizes {SAME}", 300, compare_batches),
)

if __name__ == "__main__":
    raise SystemExit(main(CHECKS))
