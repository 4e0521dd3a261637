"""Times without each compiled kernel, as multiples of the times with all of them.

    python benchmarks/speed_kernels.py

Training steps, predictions and the making of graphs are timed in turn, for 128 digits and the preset base; medians.
"""

import argparse
import statistics
import time
from collections.abc import Callable
from contextlib import nullcontext
from functools import partial

import torch
import torch.nn.functional as F
from timing import machine, show
from torch_geometric.data import Batch

from grapheme_pyg.datasets import load_mnist
from grapheme_pyg.model import ImageClassificationModel
from grapheme_pyg.testing import plain_operators
from grapheme_pyg.vision import VisionBrain

BATCH_SIZE = 128
# Kernels by computation, forward and backward.
KERNELS = {
    "typed convolution": ("typed_conv", "typed_conv_weight_grad"),
    "norm and rectifier": ("norm_relu", "norm_relu_known", "norm_relu_backward"),
    "pooling": ("mean_max_pool", "mean_max_pool_backward"),
    "plan of a sweep": ("plan_sweep",),
    "plan of the readout": ("plan_readout",),
    "levels relative to the ground": ("relative_to_ground",),
    "measure of cells": ("measure_cells",),
    "subgraphs of a lattice": ("induce",),
}


def step(model: ImageClassificationModel, optimizer: torch.optim.Optimizer, batch: Batch) -> None:
    """Takes a training step."""
    model.train()
    optimizer.zero_grad()
    F.cross_entropy(model(batch), batch.y).backward()
    optimizer.step()


@torch.no_grad()
def predict(model: ImageClassificationModel, batch: Batch) -> None:
    """Computes a prediction."""
    model.eval()
    model(batch)


def time_each(task: Callable[[], object], turns: int) -> dict[str, float]:
    """Returns median seconds with all kernels and without each, timed in turn, each time after a call to warm up."""
    seconds: dict[str, list[float]] = {name: [] for name in ("all", *KERNELS)}
    for _ in range(turns):
        for name, times in seconds.items():
            with plain_operators(*KERNELS[name]) if name in KERNELS else nullcontext():
                task()
                started = time.perf_counter()
                task()
                times.append(time.perf_counter() - started)
    return {name: statistics.median(times) for name, times in seconds.items()}


def measure(turns: int) -> dict[str, list[float]]:
    """Measures for each kernel how many times longer a step, a prediction and the making of graphs take without it."""
    torch.manual_seed(0)
    data = load_mnist().train
    images, labels = data.images[:BATCH_SIZE], data.labels[:BATCH_SIZE]
    model = ImageClassificationModel.from_preset("base")
    batch = model.vision.batch(images, labels)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4, fused=True)
    tasks: list[Callable[[], object]] = [
        partial(step, model, optimizer, batch),
        partial(predict, model, batch),
        partial(VisionBrain.batch, model.vision, images),
    ]
    ratios: dict[str, list[float]] = {name: [] for name in KERNELS}
    for task in tasks:
        seconds = time_each(task, turns)
        for name in KERNELS:
            ratios[name].append(seconds[name] / seconds["all"])
    return ratios


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--turns", type=int, default=30, metavar="N", help="how often each is timed (30)")
    ratios = measure(parser.parse_args().turns)
    rows = [[name, *(f"{ratio:.2f}" for ratio in row)] for name, row in ratios.items()]
    show("Times without a kernel, by those with all", ["kernel", "training step", "prediction", "graphs made"], rows)
    print(f"\n{machine()}")


if __name__ == "__main__":
    main()
