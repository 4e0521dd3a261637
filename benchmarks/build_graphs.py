"""How fast graphs of MNIST digits are made: in each mode in batches of 512, and in grid mode one by one.

The ways are timed in turn, five batches each, several times over.

    python benchmarks/build_graphs.py
"""

import statistics
import time
from collections.abc import Callable

import torch

from grapheme_pyg import VisionBrain
from grapheme_pyg.datasets import load_mnist

BATCH_SIZE, SINGLE, BATCHES, TURNS = 512, 32, 5, 8
ONE_BY_ONE = "grid, one by one"


def main() -> None:
    images = load_mnist().train.images[: BATCH_SIZE * BATCHES].split(BATCH_SIZE)
    vision, with_all = VisionBrain(), VisionBrain(edge_attr=True, seg=True)
    ways: dict[str, Callable[[torch.Tensor], object]] = {
        "grid": vision.batch,
        "grid, with edge_attr and seg": with_all.batch,
        ONE_BY_ONE: lambda batch: [vision(image) for image in batch[:SINGLE]],
    } | {mode: VisionBrain(mode).batch for mode in ("blob", "superpixel", "hybrid")}
    counts = dict.fromkeys(ways, BATCH_SIZE) | {ONE_BY_ONE: SINGLE}
    times: dict[str, list[float]] = {name: [] for name in ways}
    for turn in range(TURNS + 1):
        for name, way in ways.items():
            started = time.perf_counter()
            for batch in images:
                way(batch)
            if turn > 0:  # the first is for warming up
                times[name].append((time.perf_counter() - started) / (BATCHES * counts[name]))
    graphs = VisionBrain().batch(images[0])
    print(f"{graphs.num_nodes / BATCH_SIZE:.0f} nodes and {graphs.num_edges / BATCH_SIZE:.0f} edges an image; ", end="")
    print(f"torch {torch.__version__}, {torch.get_num_threads()} threads")
    slowest = statistics.median(times[ONE_BY_ONE])
    print(f"{'':32}{'images/s (median)':>18}{'against one by one':>20}")
    for name, values in times.items():
        median = statistics.median(values)
        print(f"{name:32}{1 / median:>18,.0f}{slowest / median:>19.1f}x")


if __name__ == "__main__":
    main()
