"""Time and memory of a training step by the number of nodes, and time by the number of edge types.

Images are MNIST digits, side by side in larger images: steps have from a few hundred to a million nodes, with images of
28×28 to 1024×1024 pixels in batches of up to 1,024. The line t = a + b · nodes is fitted to the medians by relative
least squares.

    python benchmarks/speed_scaling.py
"""

import argparse
import subprocess
import sys
from functools import cache, partial
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from dense_twin import DenseTwin, lattice_maps
from timing import Way, in_turn, memory_of, show
from torch import Tensor, nn

from grapheme_pyg import ImageClassificationModel, VisionBrain
from grapheme_pyg.datasets import load_mnist
from grapheme_pyg.nn import DagNN

# Side of images in pixels, and images in a batch.
SIZES = ((28, 1), (28, 4), (28, 16), (28, 64), (28, 128), (28, 256), (28, 1024), (56, 64), (112, 16), (112, 64))
LARGE = ((224, 16), (512, 1), (512, 4), (1024, 1), (1024, 4))
# Sizes of batches of 28×28 pixels whose memory is compared with that of dense convolutions.
COMPARED = (128, 1024)
EDGE_TYPES = (1, 2, 4, 9, 16, 32)


def digits(side: int, count: int) -> tuple[Tensor, Tensor]:
    """Makes square images of digits side by side."""
    data = load_mnist().train
    tiles = -(-side // 28)
    wanted = (torch.arange(count * tiles * tiles)) % len(data.images)
    images = data.images[wanted].view(count, tiles, tiles, 28, 28).transpose(2, 3).reshape(count, tiles * 28, -1)
    return images[:, :side, :side].contiguous(), data.labels[:count]


def step(model: nn.Module, inputs: Any, labels: Tensor) -> None:
    """Runs a forward and a backward pass; the optimiser does not depend on the graph."""
    model.zero_grad()
    F.cross_entropy(model(inputs), labels).backward()


def measure_nodes(turns: int, *, large: bool) -> list[dict[str, float]]:
    """Measures milliseconds and bytes of steps of many sizes."""
    rows = []
    for side, count in (*SIZES, *(LARGE if large else ())):
        torch.manual_seed(0)
        model = ImageClassificationModel.from_preset("base")
        images, labels = digits(side, count)
        batch = model.vision.batch(images, labels)
        seconds = in_turn({"step": lambda: step(model, batch, labels)}, turns=turns)["step"]  # noqa: B023
        row = {"side": side, "batch_size": count, "nodes": batch.num_nodes, "ms": 1e3 * seconds}
        rows.append(row | {"bytes": memory_of_step("ours", side, count)})
    return rows


def fit_line(rows: list[dict[str, float]]) -> dict[str, float]:
    """Fits a and b, and finds the least and greatest slope of single steps of 10,000 nodes or more, as factors of b."""
    nodes = np.array([row["nodes"] for row in rows])
    times = np.array([row["ms"] for row in rows])
    design = np.stack([np.ones_like(times), nodes], axis=1) / times[:, None]
    (a, b), *_ = np.linalg.lstsq(design, np.ones_like(times), rcond=None)
    wide = nodes >= 10_000
    slopes = (times[wide] - a) / nodes[wide] / b
    return {"a_ms": float(a), "b_ns": 1e6 * float(b), "least_b": float(slopes.min()), "most_b": float(slopes.max())}


@cache
def memory_of_step(kind: str, side: int, count: int) -> int:
    """Measures the bytes that a training step takes beyond the model and its inputs, in a separate process."""
    command = [sys.executable, __file__, "--memory", kind, str(side), str(count)]
    return int(subprocess.run(command, check=True, capture_output=True, text=True).stdout)  # noqa: S603


def memory_vs_dense(count: int) -> float:
    """Returns the memory of a training step, as a share of that of dense convolutions."""
    return memory_of_step("ours", 28, count) / memory_of_step("dense", 28, count)


def print_memory(kind: str, side: int, count: int) -> None:
    """Prints the bytes of a step in the separate process."""
    torch.manual_seed(0)
    model: nn.Module = ImageClassificationModel.from_preset("base")
    # Libraries allocate their workspaces once, here on the smallest image.
    few, few_labels = digits(28, 2)
    images, labels = digits(side, count)
    vision = VisionBrain()
    inputs: list[Any] = [vision.batch(few), vision.batch(images)]
    if kind == "dense":
        inputs = [lattice_maps(vision, few), lattice_maps(vision, images)]
        model = DenseTwin(ImageClassificationModel.from_preset("base"))
    step(model, inputs[0], few_labels)
    print(memory_of(lambda: step(model, inputs[1], labels)))


def forward_and_backward(dag: DagNN, x: Tensor, *fields: Tensor) -> None:
    """Plans and runs one layer, forward and backward."""
    dag(x, dag.plan(*fields))[-1].sum().backward()


def measure_edge_types(turns: int) -> dict[str, float]:
    """Measures milliseconds of a layer over the same edges, divided into different numbers of types."""
    generator = torch.Generator().manual_seed(0)
    nodes, degree, channels = 8000, 8, 32
    source = torch.randint(nodes, (nodes * degree,), generator=generator)
    target = nodes + torch.arange(nodes).repeat_interleave(degree)
    node_type = torch.arange(2).repeat_interleave(nodes)
    ways: dict[str, Way] = {}
    for number in EDGE_TYPES:
        dag = DagNN((["a", "b"], [("a", f"r{i}", "b") for i in range(number)]), channels, channels)
        edge_type = torch.arange(nodes * degree) % number
        x = torch.randn(2 * nodes, channels, generator=generator)
        edges = torch.stack([source, target])
        arguments = (x, edges, edge_type, node_type, node_type)
        ways[str(number)] = partial(forward_and_backward, dag, *arguments)
    return {name: 1e3 * seconds for name, seconds in in_turn(ways, turns=turns).items()}


def measure(turns: int, *, large: bool = True) -> dict[str, Any]:
    """Measures all figures; see the keys."""
    rows = measure_nodes(turns, large=large)
    return {
        "scaling": rows,
        "scaling_line": fit_line(rows),
        "memory_vs_conv2d": memory_vs_dense(COMPARED[0]),
        "memory_vs_conv2d_1024": memory_vs_dense(COMPARED[1]),
        "edge_types_ms": measure_edge_types(turns),
    }


def report(figures: dict[str, Any]) -> None:
    """Prints tables."""
    rows = [
        [
            f"{row['side']}²",
            f"{row['batch_size']:,}",
            f"{row['nodes']:,}",
            f"{row['ms']:.1f}",
            f"{1e6 * row['ms'] / row['nodes']:.0f}",
            f"{row['bytes'] / row['nodes']:,.0f}",
        ]
        for row in figures["scaling"]
    ]
    show("training steps", ["pixels", "images", "nodes", "ms", "ns a node", "bytes a node"], rows)
    line = figures["scaling_line"]
    print(f"\nt = {line['a_ms']:.2f} ms + {line['b_ns']:.0f} ns · nodes; from 10,000 nodes up, the slope is")
    print(f"{line['least_b']:.2f} to {line['most_b']:.2f} of that")
    shares = [figures["memory_vs_conv2d"], figures["memory_vs_conv2d_1024"]]
    compared = [f"{share:.2f} (batches of {count:,})" for share, count in zip(shares, COMPARED, strict=True)]
    print("memory against dense convolutions:", ", ".join(compared))
    types = [[name, f"{milliseconds:.2f}"] for name, milliseconds in figures["edge_types_ms"].items()]
    show("a layer of 64,000 edges", ["edge types", "ms"], types)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--turns", type=int, default=7, metavar="N", help="how often each is timed (7)")
    parser.add_argument("--memory", nargs=3, metavar=("KIND", "SIDE", "COUNT"), help="print the bytes of one step")
    arguments = parser.parse_args()
    if arguments.memory:
        kind, side, count = arguments.memory
        print_memory(kind, int(side), int(count))
    else:
        report(measure(arguments.turns))


if __name__ == "__main__":
    main()
