"""Times of a training step and an inference on MNIST graphs, against dense convolutions and PyG's relational ones.

All sides have the same weights, classifier, images and optimiser. Inputs are made beforehand: graphs for our layers and
PyG's, maps of all cells for dense convolutions. Our time includes the plan that is made from `edge_index`.
`tests/benchmarks/test_comparisons.py` shows that all sides compute the same.

    python benchmarks/speed_steps.py
"""

import argparse
import copy
import os
import subprocess
import sys
import time
import warnings
from itertools import cycle
from typing import Any

import torch
import torch.nn.functional as F
from dense_twin import DenseTwin, channels_last, lattice_maps
from relational_twin import RelationalTwin
from timing import Way, in_turn, show
from torch import Tensor, nn
from torch_geometric.data import Batch
from torch_geometric.nn import FastRGCNConv, RGCNConv

from grapheme_pyg import ImageClassificationModel
from grapheme_pyg.datasets import load_mnist
from grapheme_pyg.testing import plain_operators
from grapheme_pyg.vision import VisionBrain

BATCH_SIZE, BATCHES = 128, 8
# Steps in a row, as in training; each side sees every batch.
CALLS = BATCHES - 1
# Side of the matrices whose products are timed, and how often.
PEAK_SIZE, PEAK_TURNS = 2048, 20
RATIOS = (
    "step_vs_conv2d_f32",
    "step_vs_conv2d_bf16",
    "step_vs_conv2d_avx2",
    "inference_vs_conv2d_f32",
    "inference_vs_conv2d_bf16",
    "step_vs_rgcn_f32",
    "inference_vs_rgcn_f32",
    "step_vs_fast_rgcn_f32",
    "bf16_step_vs_f32_step",
    "step_without_kernels_vs_with",
    "compiled_step_vs_step",
    "useful_share_of_gemm_peak",
    "useful_share_of_mm_peak",
)
PRECISIONS = {"f32": torch.float32, "bf16": torch.bfloat16}
# The environment that limits our kernels, PyTorch, oneDNN and MKL to AVX2.
AVX2 = {
    "GRAPHEME_CPU": "avx2",
    "ATEN_CPU_CAPABILITY": "avx2",
    "ONEDNN_MAX_CPU_ISA": "AVX2",
    "MKL_ENABLE_INSTRUCTIONS": "AVX2",
}


class Task:
    """A model and its inputs; a call takes a training step on the next batch."""

    def __init__(self, model: nn.Module, inputs: list[Any], labels: list[Tensor], dtype: torch.dtype) -> None:
        self.model, self.dtype = model, dtype
        self.batches = cycle(list(zip(inputs, labels, strict=True)))
        # One fused call, since layers are compared, not optimisers.
        self.optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, fused=True)

    def logits(self, inputs: Any) -> Tensor:
        device = next(self.model.parameters()).device.type
        with torch.autocast(device, torch.bfloat16, enabled=self.dtype == torch.bfloat16):
            logits: Tensor = self.model(inputs)
        return logits.float()

    def __call__(self) -> None:
        inputs, labels = next(self.batches)
        self._set_mode(training=True)
        self.optimizer.zero_grad()
        F.cross_entropy(self.logits(inputs), labels).backward()
        self.optimizer.step()

    @torch.no_grad()
    def infer(self) -> None:
        self._set_mode(training=False)
        self.logits(next(self.batches)[0])

    def _set_mode(self, *, training: bool) -> None:
        # Changing the mode of all modules takes time, and training does it only once an epoch.
        if self.model.training != training:
            self.model.train(training)


class WithoutKernels(Task):
    """A task that is computed by PyTorch's operators alone."""

    @plain_operators()
    def __call__(self) -> None:
        super().__call__()

    @plain_operators()
    def infer(self) -> None:
        super().infer()


def graphs_of(vision: VisionBrain, images: Tensor, labels: Tensor) -> list[Batch]:
    """Makes batches of graphs."""
    parts = zip(images.split(BATCH_SIZE), labels.split(BATCH_SIZE), strict=True)
    return [vision.batch(*part) for part in parts]


def dense_tasks(
    model: ImageClassificationModel, maps: list[list[Tensor]], labels: list[Tensor], dtype: torch.dtype
) -> dict[str, Task]:
    """Makes the tasks of dense convolutions, in both memory layouts."""
    last = [[level.contiguous(memory_format=torch.channels_last) for level in part] for part in maps]
    twin = DenseTwin(copy.deepcopy(model))
    return {
        "Conv2d": Task(twin, maps, labels, dtype),
        "Conv2d, channels_last": Task(channels_last(twin), last, labels, dtype),
    }


def make_tasks(model: ImageClassificationModel, images: Tensor, labels: Tensor) -> dict[tuple[str, str], Task]:
    """Makes all tasks to compare, by name and precision."""
    graphs = graphs_of(model.vision, images, labels)
    maps = [lattice_maps(model.vision, part) for part in images.split(BATCH_SIZE)]
    classes = list(labels.split(BATCH_SIZE))
    tasks: dict[tuple[str, str], Task] = {}
    for name, dtype in PRECISIONS.items():
        tasks["ours", name] = Task(copy.deepcopy(model), graphs, classes, dtype)
        tasks |= {(kind, name): task for kind, task in dense_tasks(model, maps, classes, dtype).items()}
    tasks["ours, without kernels", "f32"] = WithoutKernels(copy.deepcopy(model), graphs, classes, torch.float32)
    for conv in (RGCNConv, FastRGCNConv):
        twin_model = copy.deepcopy(model)
        twin_model.register_module("dag", RelationalTwin(twin_model.dag, conv))
        tasks[conv.__name__, "f32"] = Task(twin_model, graphs, classes, torch.float32)
    return tasks


def useful_flops(model: ImageClassificationModel, batch: Batch) -> int:
    """Counts the operations of a training step that are not on padding.

    There are two for each edge and pair of channels in each of three passes: forward, for the weights, and for the
    sources. For each node that reads features there are two in each of two passes: forward, and for the weights.
    """
    dag = model.dag
    # Numbers of edges are needed to count them.
    plan = dag.plan(batch.edge_index, batch.edge_type, batch.node_type, batch.level, number_edges=True)
    total = 0
    for generation in plan.generations:
        name = dag.vocabulary.node_types[generation.node_type]
        if name in dag.input_weight:
            total += 4 * generation.num_nodes * dag.input_weight[name].numel()
        for read in generation.sources:
            weight = dag.weight[read.pair]
            total += 6 * read.by_edge()[0].numel() * weight.shape[1] * weight.shape[2]
    return total


def gemm_peak() -> dict[str, float]:
    """Measures float32 operations in a second by MKL, and by oneDNN, which convolutions use."""
    size = PEAK_SIZE
    a, b, out = (torch.randn(size, size) for _ in range(3))
    image = a.view(1, size, 1, size).permute(0, 3, 1, 2)
    kernel = b[:, :, None, None]
    ways: dict[str, Way] = {
        "mm": lambda: torch.mm(a, b, out=out),
        "convolution of one pixel": lambda: F.conv2d(image, kernel),
    }
    return {name: 2 * size**3 / seconds for name, seconds in in_turn(ways, turns=PEAK_TURNS).items()}


def measure(turns: int) -> dict[str, Any]:
    """Measures all figures; see the keys."""
    torch.manual_seed(0)
    data = load_mnist().train
    images, labels = data.images[: BATCHES * BATCH_SIZE], data.labels[: BATCHES * BATCH_SIZE]
    model = ImageClassificationModel.from_preset("base")
    tasks = make_tasks(model, images, labels)
    slow = tasks.pop(("FastRGCNConv", "f32"))  # timed only a few times
    names: dict[str, Task] = {f"{name} {precision}": task for (name, precision), task in tasks.items()}
    steps = in_turn(names, turns=turns, calls=CALLS)
    inference = in_turn({name: task.infer for name, task in names.items()}, turns=turns, calls=CALLS)
    pair = in_turn({"ours": names["ours f32"], "slow": slow}, turns=2, warm_up=1)
    steps["FastRGCNConv f32"] = steps["ours f32"] * (pair["slow"] / pair["ours"])
    peak = gemm_peak()
    useful = sum(useful_flops(model, graph) for graph in graphs_of(model.vision, images, labels)) / BATCHES
    return {
        "steps_ms": {name: 1e3 * seconds for name, seconds in steps.items()},
        "inference_ms": {name: 1e3 * seconds for name, seconds in inference.items()},
        "step_vs_conv2d_f32": _against_dense(steps, "f32"),
        "step_vs_conv2d_bf16": _against_dense(steps, "bf16"),
        "step_vs_conv2d_avx2": with_avx2(turns),
        "inference_vs_conv2d_f32": _against_dense(inference, "f32"),
        "inference_vs_conv2d_bf16": _against_dense(inference, "bf16"),
        "step_vs_rgcn_f32": steps["ours f32"] / steps["RGCNConv f32"],
        "step_vs_fast_rgcn_f32": steps["ours f32"] / steps["FastRGCNConv f32"],
        "inference_vs_rgcn_f32": inference["ours f32"] / inference["RGCNConv f32"],
        "step_without_kernels_vs_with": steps["ours, without kernels f32"] / steps["ours f32"],
        "bf16_step_vs_f32_step": steps["ours bf16"] / steps["ours f32"],
        "gemm_gflops": {name: rate / 1e9 for name, rate in peak.items()},
        "useful_gflops_a_step": useful / 1e9,
        "useful_share_of_gemm_peak": useful / steps["ours f32"] / max(peak.values()),
        "useful_share_of_mm_peak": useful / steps["ours f32"] / peak["mm"],
        **measure_compiled(model, images, labels),
        "other_graphs": measure_other_graphs(turns),
    }


def with_avx2(turns: int) -> float:
    """Times a float32 step against dense convolutions, all limited to AVX2, in a separate process."""
    sizes = [str(number) for number in (turns, BATCH_SIZE, BATCHES, CALLS)]
    command = [sys.executable, __file__, "--against-dense", *sizes]
    environment = os.environ | AVX2
    done = subprocess.run(command, env=environment, check=True, capture_output=True, text=True)  # noqa: S603
    return float(done.stdout)


def against_dense(turns: int, batch_size: int, batches: int, calls: int) -> float:
    """Measures the ratio of :func:`with_avx2` in the separate process."""
    torch.manual_seed(0)
    data = load_mnist().train
    images, labels = (values[: batches * batch_size].split(batch_size) for values in data)
    model = ImageClassificationModel.from_preset("base")
    graphs = [model.vision.batch(*part) for part in zip(images, labels, strict=True)]
    tasks = dense_tasks(model, [lattice_maps(model.vision, part) for part in images], list(labels), torch.float32)
    ways: dict[str, Way] = {f"{name} f32": task for name, task in tasks.items()}
    ways["ours f32"] = Task(copy.deepcopy(model), graphs, list(labels), torch.float32)
    return _against_dense(in_turn(ways, turns=turns, calls=calls), "f32")


def measure_compiled(model: ImageClassificationModel, images: Tensor, labels: Tensor) -> dict[str, float]:
    """Times a step under ``torch.compile``, and the compilation."""
    graphs, classes = graphs_of(model.vision, images, labels), list(labels.split(BATCH_SIZE))
    plain = Task(copy.deepcopy(model), graphs, classes, torch.float32)
    compiled = Task(copy.deepcopy(model), graphs, classes, torch.float32)
    compiled.model.compile(dynamic=True)
    started = time.perf_counter()
    with warnings.catch_warnings():
        # PyTorch warns about its own code.
        warnings.simplefilter("ignore")
        for _ in graphs:
            compiled()
    seconds = time.perf_counter() - started
    medians = in_turn({"compiled": compiled, "plain": plain}, turns=BATCHES)
    return {"compiled_step_vs_step": medians["compiled"] / medians["plain"], "seconds_to_compile": seconds}


def measure_other_graphs(turns: int) -> dict[str, dict[str, float]]:
    """Times steps on graphs that are not lattices against ``RGCNConv``, in narrow models without edge attributes."""
    data = load_mnist().train
    images, labels = data.images[: 2 * BATCH_SIZE], data.labels[: 2 * BATCH_SIZE]
    out = {}
    for mode in ("blob", "superpixel"):
        torch.manual_seed(0)
        model = ImageClassificationModel(VisionBrain(mode, edge_attr=False))
        graphs, classes = graphs_of(model.vision, images, labels), list(labels.split(BATCH_SIZE))
        twin = copy.deepcopy(model)
        twin.register_module("dag", RelationalTwin(twin.dag, RGCNConv))
        ways: dict[str, Way] = {
            "ours": Task(model, graphs, classes, torch.float32),
            "ours, bf16": Task(copy.deepcopy(model), graphs, classes, torch.bfloat16),
            "RGCNConv": Task(twin, graphs, classes, torch.float32),
        }
        seconds = in_turn(ways, turns=max(3, turns // 3), warm_up=2)
        out[mode] = {
            "nodes": graphs[0].num_nodes,
            "edges": graphs[0].num_edges,
            "step_ms": 1e3 * seconds["ours"],
            "bf16_vs_f32": seconds["ours, bf16"] / seconds["ours"],
            "vs_rgcn": seconds["ours"] / seconds["RGCNConv"],
        }
    return out


def _against_dense(seconds: dict[str, float], precision: str) -> float:
    dense = min(seconds[f"{name} {precision}"] for name in ("Conv2d", "Conv2d, channels_last"))
    return seconds[f"ours {precision}"] / dense


def report(figures: dict[str, Any]) -> None:
    """Prints tables."""
    rows = [
        [name, f"{step:.1f}", f"{figures['inference_ms'][name]:.1f}" if name in figures["inference_ms"] else ""]
        for name, step in figures["steps_ms"].items()
    ]
    weights = sum(parameter.numel() for parameter in ImageClassificationModel.from_preset("base").parameters())
    show(f"{BATCH_SIZE} MNIST digits, {weights:,} weights, milliseconds", ["", "training step", "inference"], rows)
    ratios = [[name, f"{figures[name]:.3f}"] for name in RATIOS]
    show("ratios, and shares of the fastest product of matrices", ["", ""], ratios)
    others = [
        [mode, *(f"{row[key]:.2f}" if isinstance(row[key], float) else f"{row[key]:,}" for key in row)]
        for mode, row in figures["other_graphs"].items()
    ]
    show("other graphs", ["", *next(iter(figures["other_graphs"].values()))], others)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--turns", type=int, default=40, metavar="N", help="how often each is timed (40)")
    parser.add_argument(
        "--against-dense", nargs=4, type=int, metavar="N", help="print one ratio: turns, batch size, batches, calls"
    )
    arguments = parser.parse_args()
    if arguments.against_dense:
        print(against_dense(*arguments.against_dense))
    else:
        report(measure(arguments.turns))


if __name__ == "__main__":
    main()
